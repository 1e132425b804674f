// How things move: they start fast and arrive slowly, or are there at once for whoever would rather not see it.
import type { View } from "./view";

export function ease(part: number): number {
  return 1 - (1 - part) ** 3;
}

export function between(from: View, to: View, part: number): View {
  const mix = (a: number, b: number) => a + (b - a) * part;
  return { x: mix(from.x, to.x), y: mix(from.y, to.y), k: mix(from.k, to.k) };
}

/** Whether the user would rather not see things move. */
export function calm(): boolean {
  return matchMedia("(prefers-reduced-motion: reduce)").matches;
}
