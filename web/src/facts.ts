// What is known about a node, and how it is said.
import { parentIndex, type Place } from "./layout";
import type { Numbers, Tree } from "./schema";

export interface Facts {
  leaf: boolean;
  step: number;
  sigma: number;
  rewards: [name: string, value: number | null][];
  logProb: number | null;
  advantage: number | null;
  share: number | null;
}

export function factsOf(tree: Tree, prompt: number, { generation, index }: Place): Facts {
  const { step, count, log_prob, advantage, share } = tree.generations[generation];
  const leaf = step === tree.sigmas.length - 1;
  const i = prompt * count + index;
  return {
    leaf,
    step,
    sigma: tree.sigmas[step],
    rewards: leaf ? Object.entries(tree.rewards).map(([name, values]) => [name, entry(values, i)]) : [],
    logProb: entry(log_prob, i),
    advantage: entry(advantage, i) ?? (leaf ? entry(tree.leaf_advantage, i) : null),
    share: entry(share, i),
  };
}

function entry(list: Numbers, i: number): number | null {
  return list[i] ?? null;
}

/** Its place among the tiles of the sheet. */
export function tileOf(tree: Tree, prompt: number, { generation, index }: Place): number {
  const before = tree.generations.slice(0, generation).reduce((sum, { count }) => sum + count, 0);
  return before * tree.prompts.length + prompt * tree.generations[generation].count + index;
}

/** "Leaf 5 of 27", "Step 3, picture 2 of 9". */
export function nameOf(tree: Tree, place: Place): string {
  const { step, count } = tree.generations[place.generation];
  const which = `${place.index + 1} of ${count}`;
  return step === tree.sigmas.length - 1 ? `Leaf ${which}` : `Step ${step}, picture ${which}`;
}

/** All that is known, in one line, for those who listen. */
export function spoken(tree: Tree, prompt: number, place: Place): string {
  const facts = factsOf(tree, prompt, place);
  const said = facts.rewards.map(([name, value]) => `${name} ${value === null ? "unknown" : plain(value)}`);
  if (facts.advantage !== null) said.push(`advantage ${signed(facts.advantage)}`);
  return [nameOf(tree, place), ...said].join(", ");
}

/** The node that an arrow key leads to: left the parent, right the best child, up and down its neighbours. */
export function neighbour(tree: Tree, prompt: number, { generation, index }: Place, key: string): Place | null {
  const counts = tree.generations.map(({ count }) => count);
  if (key === "ArrowLeft" && generation > 0)
    return { generation: generation - 1, index: parentIndex(index, counts[generation], counts[generation - 1]) };
  if (key === "ArrowRight" && generation + 1 < counts.length) {
    const children = counts[generation + 1] / counts[generation];
    const places = Array.from({ length: children }, (_, i) => ({
      generation: generation + 1,
      index: index * children + i,
    }));
    const worth = (place: Place) => factsOf(tree, prompt, place).advantage ?? 0;
    return places.reduce((best, place) => (worth(place) > worth(best) ? place : best));
  }
  if (key === "ArrowUp" && index > 0) return { generation, index: index - 1 };
  if (key === "ArrowDown" && index + 1 < counts[generation]) return { generation, index: index + 1 };
  return null;
}

/** The largest advantage of any edge of a prompt, either way; 1 where there is none. */
export function strongest(tree: Tree, prompt: number): number {
  let most = 0;
  for (const { count, advantage } of tree.generations)
    for (let i = prompt * count; i < (prompt + 1) * count; i++) most = Math.max(most, Math.abs(advantage[i] ?? 0));
  return most || 1;
}

/** Three digits that count. */
export function plain(value: number): string {
  const digits = Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : Math.abs(value) >= 1 ? 2 : 3;
  return value.toFixed(digits).replace("-", "\u2212");
}

export function signed(value: number, digits = 2): string {
  return (value < 0 ? "\u2212" : "+") + Math.abs(value).toFixed(digits);
}
