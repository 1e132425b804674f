import { expect, test } from "vitest";
import { linesOf } from "../src/curves";

test("the band is the mean and its spread; what is not known leaves a gap", () => {
  const [line] = linesOf({
    iteration: [0, 1, 2],
    reward: { a: [1, 2, null] },
    spread: { a: [0.5, null, 1] },
    heldout: [null, null, null],
    watched: {},
  });
  expect(line).toEqual({
    name: "a",
    mean: [1, 2, null],
    low: [0.5, null, null],
    high: [1.5, null, null],
    judged: null,
  });
});

test("held-out judgements go with the only reward, or by themselves", () => {
  const heldout = [null, 3];
  const some = { iteration: [0, 1], spread: {}, heldout, watched: {} };
  expect(linesOf({ ...some, reward: { a: [1, 2] } })[0].judged).toEqual({ what: "held out", marks: heldout });
  const lines = linesOf({ ...some, reward: { a: [1, 2], b: [3, 4] } });
  expect(lines.map(({ name, judged }) => [name, judged !== null])).toEqual([
    ["a", false],
    ["b", false],
    ["held out", true],
  ]);
});

test("a watched reward has a line of its own, though it has the name of one that trains", () => {
  const lines = linesOf({
    iteration: [0, 1],
    reward: { a: [1, 2] },
    spread: {},
    heldout: [null, 3],
    watched: { a: [null, 0.4] },
  });
  expect(lines.map(({ name, judged }) => [name, judged?.what])).toEqual([
    ["a", "held out"],
    ["a", "watched"],
  ]);
  expect(lines[1]).toEqual({
    name: "a",
    mean: [null, null],
    low: [null, null],
    high: [null, null],
    judged: { what: "watched", marks: [null, 0.4] },
  });
});
