// The numbers of a run as lines to draw.
import type { Curves, Numbers } from "./schema";

export interface Line {
  name: string;
  /** By iteration. */
  mean: Numbers;
  low: Numbers;
  high: Numbers;
  /** Held-out judgements, where they belong to this reward. */
  heldout: Numbers | null;
}

/** One per reward. With one reward, held-out judgements are about it; with several, they are a mixture of their own. */
export function linesOf({ reward, spread, heldout }: Curves): Line[] {
  const names = Object.keys(reward);
  const judged = heldout.some((value) => value !== null);
  const lines = names.map((name): Line => {
    const mean = reward[name];
    const around = (sign: number) => mean.map((value, i) => shifted(value, spread[name]?.[i] ?? null, sign));
    return { name, mean, low: around(-1), high: around(1), heldout: judged && names.length === 1 ? heldout : null };
  });
  if (judged && names.length !== 1) {
    const none = heldout.map(() => null);
    lines.push({ name: "held out", mean: none, low: none, high: none, heldout });
  }
  return lines;
}

function shifted(value: number | null, by: number | null, sign: number): number | null {
  return value === null || by === null ? null : value + sign * by;
}
