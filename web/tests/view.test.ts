import { expect, test } from "vitest";
import { kept, moved, showing, stretch, toLayout, toScreen, WHOLE, zoomed } from "../src/view";

test("zooming keeps the point under the pointer, though columns stretch less than rows", () => {
  let view = WHOLE;
  for (const factor of [1.7, 3, 40, 0.1]) {
    const there = toLayout(view, 300, 120);
    view = zoomed(view, factor, 300, 120);
    const [x, y] = toScreen(view, ...there);
    expect(x).toBeCloseTo(300);
    expect(y).toBeCloseTo(120);
  }
  expect(stretch(1)).toBe(1);
  expect(stretch(1000)).toBeLessThan(4);
});

test("a drag moves by as much, a wheel zooms about its point", () => {
  const view = { x: 10, y: 20, k: 8 };
  expect(moved(view, { x: 0, y: 0, k: 8 }, { x: 5, y: -3, k: 8 })).toEqual({ x: 15, y: 17, k: 8 });
  const after = { x: 200 - 200 * 2, y: 90 - 90 * 2, k: 16 }; // about (200, 90)
  const [a, b] = [moved(view, { x: 0, y: 0, k: 8 }, after), zoomed(view, 2, 200, 90)];
  expect(a.x).toBeCloseTo(b.x);
  expect(a.y).toBeCloseTo(b.y);
});

test("the tree cannot be lost", () => {
  const far = kept({ x: 9000, y: -9000, k: 2 }, 600, 400);
  expect(toScreen(far, 0, 0)[0]).toBeLessThanOrEqual(300);
  expect(toScreen(far, 600, 400)[1]).toBeGreaterThanOrEqual(200);
  expect(kept(WHOLE, 600, 400)).toEqual(WHOLE);
});

test("a point is panned into sight, and no further than it takes", () => {
  const view = { x: -100, y: -700, k: 4 };
  const [x, y] = toLayout(view, 650, -30);
  const there = showing(view, x, y, 600, 400);
  expect(toScreen(there, x, y)).toEqual([550, 50]);
  expect(there.k).toBe(4);
  expect(showing(there, x, y, 600, 400)).toBe(there);
  expect(showing(WHOLE, 599, 1, 600, 400)).toBe(WHOLE);
});
