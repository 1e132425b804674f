import { afterEach, expect, test, vi } from "vitest";
import { growth } from "../src/growth";

const moves = (calm: boolean) => vi.stubGlobal("matchMedia", () => ({ matches: calm }));
afterEach(() => vi.unstubAllGlobals());

test("a new tree appears one generation after another, what grows on it at once", () => {
  moves(false);
  const appearing = growth();
  appearing.show(2, false, 1000);
  const [first, second] = appearing.at(1200);
  expect(0 < second && second < first && first < 1).toBe(true);
  expect(appearing.at(9000)).toEqual([1, 1]);
  appearing.show(4, true, 9000);
  expect(appearing.at(9000)).toEqual([1, 1, 0, 0]);
  const [, , third, fourth] = appearing.at(9100);
  expect(third).toBe(fourth);
  appearing.show(2, false, 20_000);
  expect(appearing.at(20_000)).toEqual([0, 0]);
  appearing.show(0, false, 20_000);
  expect(appearing.at(20_000)).toEqual([]);
});

test("whoever would rather not see things move sees all at once", () => {
  moves(true);
  const appearing = growth();
  appearing.show(3, false, 1000);
  expect(appearing.at(1000)).toEqual([1, 1, 1]);
});
