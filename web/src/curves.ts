// The numbers of a run as lines to draw.
import type { Curves, Numbers } from "./schema";

export interface Line {
  name: string;
  /** By iteration. */
  mean: Numbers;
  low: Numbers;
  high: Numbers;
  /** Judgements of held-out pictures that belong to this line. */
  judged: Judged | null;
}

export interface Judged {
  what: "held out" | "watched";
  /** By iteration. */
  marks: Numbers;
}

/**
 * One per reward that trains, and one per reward that is only watched: each has a scale of its own. With one reward
 * that trains, held-out judgements are about it; with several, they are a mixture of their own.
 */
export function linesOf({ reward, spread, heldout, watched }: Curves): Line[] {
  const names = Object.keys(reward);
  const judged: Judged | null = heldout.some((value) => value !== null) ? { what: "held out", marks: heldout } : null;
  const lines = names.map((name): Line => {
    const mean = reward[name];
    const around = (sign: number) => mean.map((value, i) => shifted(value, spread[name]?.[i] ?? null, sign));
    return { name, mean, low: around(-1), high: around(1), judged: names.length === 1 ? judged : null };
  });
  if (judged && names.length !== 1) lines.push(dots("held out", judged));
  for (const [name, marks] of Object.entries(watched)) lines.push(dots(name, { what: "watched", marks }));
  return lines;
}

/** A line of judgements alone. */
function dots(name: string, judged: Judged): Line {
  const none = judged.marks.map(() => null);
  return { name, mean: none, low: none, high: none, judged };
}

function shifted(value: number | null, by: number | null, sign: number): number | null {
  return value === null || by === null ? null : value + sign * by;
}
