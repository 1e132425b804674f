import { describe, expect, test } from "vitest";
import { countAt, generationSteps, indexAt, layout, parentIndex, pathTo, portions, rowY } from "../src/layout";
import { grownTree, growing } from "./trees";

const FRAME = { left: 20, right: 620, top: 10, bottom: 410 };

describe("columns", () => {
  test("stand in the order of the steps, from noise to the right edge, never closer than the least gap", () => {
    const { noise, x, steps } = layout(grownTree(), FRAME);
    expect(steps).toEqual([0, 1, 2, 10]);
    expect(noise).toBe(20);
    expect(x.at(-1)).toBeCloseTo(620);
    const gaps = [noise, ...x].slice(1).map((at, i) => at - [noise, ...x][i]);
    expect(Math.min(...gaps)).toBeGreaterThanOrEqual((0.72 * 600) / 4 - 1e-9);
    expect(gaps[3]).toBe(Math.max(...gaps)); // most of sigma lies behind the window
  });

  test("are where they will be while the tree still grows", () => {
    const whole = grownTree();
    for (let generations = 0; generations < 4; generations++) {
      const early = layout(growing(whole, generations), FRAME);
      expect(early.x).toEqual(layout(whole, FRAME).x);
      expect(early.counts).toEqual([1, 3, 9, 27]);
    }
  });

  test("exist for plans that never branch", () => {
    const tree = { ...growing(grownTree(), 0), branch: Array(10).fill(1), roots: 8, window: [4, 5] };
    expect(generationSteps(tree)).toEqual([4, 10]);
    expect(countAt(tree, 10)).toBe(8);
  });

  test("every step has a place between its neighbours", () => {
    const { levels } = layout(grownTree(), FRAME);
    expect(levels).toHaveLength(11);
    expect([...levels].sort((a, b) => a - b)).toEqual(levels);
  });
});

test("portions add up, keep to the least, and are equal where it cannot be kept", () => {
  const parts = portions([1, 0, 99], 100, 10);
  expect(parts.reduce((a, b) => a + b)).toBeCloseTo(100);
  expect(Math.min(...parts)).toBeGreaterThanOrEqual(10);
  expect(portions([5, 1], 10, 6)).toEqual([5, 5]);
  expect(portions([0, 0], 10, 1)).toEqual([5, 5]);
});

describe("rows", () => {
  test("a parent stands amid its children", () => {
    const children = [3, 4, 5].map((index) => rowY(FRAME, 9, index));
    expect(rowY(FRAME, 3, 1)).toBeCloseTo((children[0] + children[2]) / 2);
    expect([3, 4, 5].map((index) => parentIndex(index, 9, 3))).toEqual([1, 1, 1]);
  });

  test("the node under a height is the one that was put there", () => {
    for (const index of [0, 13, 4095]) expect(indexAt(FRAME, 4096, rowY(FRAME, 4096, index))).toBe(index);
    expect(indexAt(FRAME, 9, -1000)).toBe(0);
    expect(indexAt(FRAME, 9, 1000)).toBe(8);
  });

  test("the path to a leaf starts at its root", () => {
    expect(pathTo([1, 3, 9, 27], { generation: 3, index: 14 }).map(({ index }) => index)).toEqual([0, 1, 4, 14]);
    expect(pathTo([8, 8], { generation: 1, index: 5 }).map(({ index }) => index)).toEqual([5, 5]);
  });
});
