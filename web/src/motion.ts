// How things move: they start fast and arrive slowly, or are there at once for whoever would rather not see it.
import type { View } from "./view";

export function ease(part: number): number {
  return 1 - (1 - part) ** 3;
}

export function mix(from: number, to: number, part: number): number {
  return from + (to - from) * part;
}

export function between(from: View, to: View, part: number): View {
  return { x: mix(from.x, to.x, part), y: mix(from.y, to.y, part), k: mix(from.k, to.k, part) };
}

/** Whether the user would rather not see things move. */
export function calm(): boolean {
  return matchMedia("(prefers-reduced-motion: reduce)").matches;
}
