import { expect, test } from "vitest";
import { factsOf, neighbour, plain, signed, spoken, tileOf } from "../src/facts";
import { grownTree, growing } from "./trees";

const tree = grownTree();

test("a leaf says what it is worth", () => {
  const leaf = { generation: 3, index: 4 };
  const { rewards, advantage, step, sigma } = factsOf(tree, 1, leaf);
  expect(rewards).toEqual([["clipscore", tree.rewards.clipscore[27 + 4]]]);
  expect(advantage).toBe(tree.generations[3].advantage[27 + 4]);
  expect([step, sigma]).toEqual([10, 0]);
  expect(spoken(tree, 1, leaf)).toBe(
    `Leaf 5 of 27, clipscore ${plain(tree.rewards.clipscore[31]!)}, advantage ${signed(advantage!)}`,
  );
});

test("what is not known yet is left out", () => {
  const young = growing(tree, 2);
  expect(spoken(young, 0, { generation: 1, index: 1 })).toBe("Step 1, picture 2 of 3");
  const silent = { ...tree, rewards: { human: tree.rewards.clipscore.map(() => null) } };
  expect(spoken(silent, 0, { generation: 3, index: 0 })).toContain("human unknown");
});

test("tiles lie by generation, prompt and birth", () => {
  expect(tileOf(tree, 0, { generation: 0, index: 0 })).toBe(0);
  expect(tileOf(tree, 1, { generation: 0, index: 0 })).toBe(1);
  expect(tileOf(tree, 1, { generation: 1, index: 2 })).toBe(2 + 3 + 2);
  expect(tileOf(tree, 1, { generation: 3, index: 26 })).toBe(tree.sheet!.tiles - 1);
});

test("arrows: the parent, the best child, the neighbours", () => {
  const at = { generation: 2, index: 4 };
  expect(neighbour(tree, 0, at, "ArrowLeft")).toEqual({ generation: 1, index: 1 });
  const worth = [12, 13, 14].map((index) => tree.generations[3].advantage[index]!);
  const best = 12 + worth.indexOf(Math.max(...worth));
  expect(neighbour(tree, 0, at, "ArrowRight")).toEqual({ generation: 3, index: best });
  expect(neighbour(tree, 0, at, "ArrowUp")).toEqual({ generation: 2, index: 3 });
  expect(neighbour(tree, 0, { generation: 3, index: 26 }, "ArrowDown")).toBeNull();
  expect(neighbour(tree, 0, { generation: 3, index: 26 }, "ArrowRight")).toBeNull();
  expect(neighbour(tree, 0, { generation: 0, index: 0 }, "ArrowLeft")).toBeNull();
});

test("numbers are short", () => {
  expect([plain(0.4731), plain(4.2), plain(-102.4), plain(31.25)]).toEqual(["0.473", "4.20", "\u2212102", "31.3"]);
  expect([signed(1.2), signed(-0.5)]).toEqual(["+1.20", "\u22120.50"]);
});
