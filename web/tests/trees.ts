// Made-up answers of the server.
import type { Curves, Generation, Run, RunSummary, Tree } from "../src/schema";

/** Numbers that look like chance and are the same every time. */
export function chance(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}

/** A scored tree: `branch` children at each of the first steps, the leaves after `steps`. */
export function grownTree(
  branch = [3, 3, 3],
  prompts = ["a lighthouse at dusk", "a maple leaf"],
  steps = 10,
  iteration = 12,
): Tree {
  const draw = chance(iteration + branch.length);
  const sigmas = Array.from({ length: steps + 1 }, (_, i) => {
    const even = 1 - i / steps;
    return (3 * even) / (1 + 2 * even);
  });
  const counts = branch.reduce((all, children) => [...all, all[all.length - 1] * children], [1]);
  const last = branch.length;
  const advantages: number[][] = counts.map(() => []);
  const rewards: number[] = [];
  for (let p = 0; p < prompts.length; p++) {
    const walk = (generation: number, taste: number): number => {
      const own = taste + (draw() - 0.5) * (1.6 / (generation + 1));
      let worth = own;
      if (generation === last) rewards.push(0.35 + 0.2 * own);
      else
        worth =
          branch
            .slice(generation, generation + 1)
            .flatMap((n) => Array.from({ length: n }, () => walk(generation + 1, own)))
            .reduce((a, b) => a + b, 0) / branch[generation];
      advantages[generation].push(worth * 1.6);
      return worth;
    };
    walk(0, 0);
  }
  const mean = advantages[last].reduce((a, b) => a + b, 0) / advantages[last].length;
  for (const list of advantages) list.forEach((value, i) => (list[i] = value - mean));
  const generations = counts.map((count, g): Generation => ({
    step: g === last ? steps : g,
    count,
    log_prob: g ? advantages[g].map(() => -1.2 - draw() / 5) : [],
    advantage: g ? advantages[g] : [],
    share: g ? shares(advantages, counts, g) : [],
  }));
  const tiles = prompts.length * counts.reduce((a, b) => a + b, 0);
  return {
    iteration,
    step: steps,
    complete: true,
    prompts,
    sigmas,
    branch: Array.from({ length: steps }, (_, i) => branch[i] ?? 1),
    roots: 1,
    window: branch.map((_, i) => i),
    generations,
    rewards: { clipscore: rewards },
    leaf_advantage: advantages[last],
    sheet: {
      picture: { filename: "12.jpg", subfolder: "treegrpo/my taste/trees", type: "output" },
      version: 3,
      width: 64,
      height: 64,
      columns: 32,
      tiles,
    },
  };
}

/** Siblings share what is above them, the better ones more of it. */
function shares(advantages: number[][], counts: number[], generation: number): number[] {
  const above = generation > 1 ? shares(advantages, counts, generation - 1) : advantages[0].map(() => 1);
  const children = counts[generation] / counts[generation - 1];
  const weights = advantages[generation].map((value) => Math.exp(value));
  return weights.map((weight, i) => {
    const first = i - (i % children);
    const sum = weights.slice(first, first + children).reduce((a, b) => a + b, 0);
    return (weight / sum) * above[Math.floor(i / children)];
  });
}

/** The same tree while it grows, with so many generations. */
export function growing(tree: Tree, generations: number): Tree {
  const grown = tree.generations.slice(0, generations).map((one) => ({ ...one, advantage: [], share: [] }));
  const tiles = tree.prompts.length * grown.reduce((sum, { count }) => sum + count, 0);
  return {
    ...tree,
    step: grown.at(-1)?.step ?? 0,
    complete: false,
    generations: grown,
    rewards: {},
    leaf_advantage: [],
    sheet: tree.sheet && generations ? { ...tree.sheet, tiles, version: generations } : null,
  };
}

export function someCurves(iterations = 40, rewards = ["clipscore"], watched: string[] = []): Curves {
  const draw = chance(5);
  const iteration = Array.from({ length: iterations }, (_, i) => i);
  return {
    iteration,
    reward: Object.fromEntries(
      rewards.map((name, r) => [
        name,
        iteration.map((i) => (r + 1) * (0.33 + 0.18 * (1 - Math.exp(-i / 14)) + 0.03 * draw())),
      ]),
    ),
    spread: Object.fromEntries(rewards.map((name, r) => [name, iteration.map((i) => (r + 1) * (0.09 - 0.001 * i))])),
    heldout: iteration.map((i) => (i % 8 === 4 ? 0.32 + 0.15 * (1 - Math.exp(-i / 14)) : null)),
    watched: Object.fromEntries(
      watched.map((name) => [name, iteration.map((i) => (i % 8 === 4 ? 0.6 - 0.004 * i : null))]),
    ),
  };
}

export function summary(run = "my taste", more: Partial<RunSummary> = {}): RunSummary {
  return {
    run,
    model: "emoji-sd3",
    method: "treegrpo",
    done: 12,
    iterations: 100,
    before: { clipscore: 0.339 },
    after: { clipscore: 0.504 },
    running: false,
    resumable: true,
    changed: 1_790_000_000,
    thumbnail: { filename: "12.jpg", subfolder: `treegrpo/${run}/thumbnail`, type: "output" },
    problem: null,
    ...more,
  };
}

export function someRun(run = "my taste", more: Partial<Run> = {}): Run {
  const file = (filename: string, bytes: number) => ({
    picture: { filename, subfolder: `treegrpo/${run}`, type: "output" as const },
    bytes,
  });
  return {
    summary: summary(run),
    curves: someCurves(),
    trees: [0, 5, 10],
    live: true,
    folder: `output/treegrpo/${run}`,
    files: [file("lora.safetensors", 1_250_000), file("config.json", 1800), file("metrics.jsonl", 9500)],
    ...more,
  };
}
