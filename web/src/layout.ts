// Where the nodes of one prompt's tree stand. Levels are regular, so this is arithmetic. Time runs from left to right,
// along sigma; the leaves fill the height.
import type { Tree } from "./schema";

/** A node of one prompt: the place of its generation, and its place in it. */
export interface Place {
  generation: number;
  index: number;
}

/** In pixels, before zoom. */
export interface Frame {
  left: number;
  right: number;
  top: number;
  bottom: number;
}

export interface Layout extends Frame {
  /** Where the noise stands. */
  noise: number;
  /** The step of each generation, those to come included, and where it stands. */
  steps: number[];
  x: number[];
  /** Nodes of each. */
  counts: number[];
  /** Of each step of denoising. */
  levels: number[];
}

/** The part of the way that no two columns come closer than, if it were shared equally. */
const LEAST = 0.72;

/** The steps at which generations stand, those to come included: where it branches, and the end. */
export function generationSteps(tree: Tree): number[] {
  const branching = tree.window.filter((step) => tree.branch[step] > 1);
  const expected = [...(branching.length ? branching : tree.window.slice(0, 1)), tree.sigmas.length - 1];
  const grown = tree.generations.map(({ step }) => step);
  const last = grown.at(-1) ?? -1;
  return [...grown, ...expected.filter((step) => step > last)];
}

/** Nodes of one prompt at a step. */
export function countAt(tree: Tree, step: number): number {
  return tree.branch.slice(0, step).reduce((count, children) => count * children, tree.roots);
}

export function layout(tree: Tree, frame: Frame): Layout {
  const steps = generationSteps(tree);
  const sigmas = [tree.sigmas[0], ...steps.map((step) => tree.sigmas[step])];
  const way = frame.right - frame.left;
  const gaps = portions(
    steps.map((_, i) => Math.max(0, sigmas[i] - sigmas[i + 1])),
    way,
    (LEAST * way) / steps.length,
  );
  let at = frame.left;
  const x = gaps.map((gap) => (at += gap));
  return {
    ...frame,
    noise: frame.left,
    steps,
    x,
    counts: steps.map((step, i) => tree.generations[i]?.count ?? countAt(tree, step)),
    levels: tree.sigmas.map((_, step) => levelX(tree.sigmas, steps, x, frame.left, step)),
  };
}

/** Parts of a total in proportion to the weights, none under the least; equal parts where that cannot be. */
export function portions(weights: number[], total: number, least: number): number[] {
  const sum = weights.reduce((a, b) => a + b, 0);
  if (sum <= 0 || least * weights.length >= total) return weights.map(() => total / weights.length);
  const small = new Set<number>();
  for (;;) {
    const rest = total - least * small.size;
    const open = weights.reduce((a, b, i) => (small.has(i) ? a : a + b), 0);
    const part = (i: number) => (small.has(i) ? least : (rest * weights[i]) / open);
    const short = weights.findIndex((_, i) => part(i) < least);
    if (short < 0) return weights.map((_, i) => part(i));
    small.add(short);
  }
}

/** A step between two columns stands where its sigma says. */
function levelX(sigmas: number[], steps: number[], x: number[], left: number, step: number): number {
  const next = steps.findIndex((other) => other >= step);
  if (next < 0) return x[x.length - 1];
  if (steps[next] === step) return x[next];
  const [from, fromX] = next ? [sigmas[steps[next - 1]], x[next - 1]] : [sigmas[0], left];
  const to = sigmas[steps[next]];
  return from === to ? x[next] : fromX + ((x[next] - fromX) * (from - sigmas[step])) / (from - to);
}

/** Where a node stands in its column. */
export function rowY(frame: Frame, count: number, index: number): number {
  return frame.top + ((index + 0.5) / count) * (frame.bottom - frame.top);
}

/** The place of its parent in the generation before. */
export function parentIndex(index: number, count: number, before: number): number {
  return Math.floor((index * before) / count);
}

/** From the root to the node. */
export function pathTo(counts: number[], place: Place): Place[] {
  const path = [place];
  for (let { generation, index } = place; generation > 0; generation--) {
    index = parentIndex(index, counts[generation], counts[generation - 1]);
    path.unshift({ generation: generation - 1, index });
  }
  return path;
}

/** Which node stands at a height of the column, or the nearest. */
export function indexAt(frame: Frame, count: number, y: number): number {
  const index = Math.floor(((y - frame.top) / (frame.bottom - frame.top)) * count);
  return Math.min(count - 1, Math.max(0, index));
}
