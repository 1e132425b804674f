// When the generations of a tree appear: one after another where the tree is new, at once where it has grown.
import { calm, ease } from "./motion";

export interface Growth {
  /** A tree of so many generations is shown from a moment in ms on. grows: it is the one that was shown, or more of it. */
  show(count: number, grows: boolean, now: number): void;
  /** How far each generation has appeared, 0 to 1. */
  at(now: number): number[];
}

const EASE = 450;
const STAGGER = 110;

export function growth(): Growth {
  let born: number[] = [];
  return {
    show(count, grows, now) {
      if (!grows) born = [];
      for (let i = born.length; i < count; i++) born[i] = calm() ? 0 : now + (grows ? 0 : i * STAGGER);
    },
    at: (now) => born.map((start) => ease(Math.min(1, Math.max(0, (now - start) / EASE)))),
  };
}
