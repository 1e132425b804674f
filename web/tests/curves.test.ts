import { expect, test } from "vitest";
import { linesOf } from "../src/curves";

test("the band is the mean and its spread; what is not known leaves a gap", () => {
  const [line] = linesOf({
    iteration: [0, 1, 2],
    reward: { a: [1, 2, null] },
    spread: { a: [0.5, null, 1] },
    heldout: [null, null, null],
  });
  expect(line).toEqual({
    name: "a",
    mean: [1, 2, null],
    low: [0.5, null, null],
    high: [1.5, null, null],
    heldout: null,
  });
});

test("held-out judgements go with the only reward, or by themselves", () => {
  const heldout = [null, 3];
  expect(linesOf({ iteration: [0, 1], reward: { a: [1, 2] }, spread: {}, heldout })[0].heldout).toEqual(heldout);
  const lines = linesOf({ iteration: [0, 1], reward: { a: [1, 2], b: [3, 4] }, spread: {}, heldout });
  expect(lines.map(({ name, heldout }) => [name, heldout !== null])).toEqual([
    ["a", false],
    ["b", false],
    ["held out", true],
  ]);
});
