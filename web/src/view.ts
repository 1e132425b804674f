// What part of the tree is seen. Rows grow with the zoom for as long as one likes; columns stop early, so that a node
// and its children stay in one view.

export interface View {
  x: number;
  y: number;
  k: number;
}

export const WHOLE: View = { x: 0, y: 0, k: 1 };
const WIDEST = 2.5;
const ROOM = 50;

export function stretch(k: number): number {
  return Math.min(k, WIDEST);
}

export function toScreen(view: View, x: number, y: number): [number, number] {
  return [view.x + x * stretch(view.k), view.y + y * view.k];
}

export function toLayout(view: View, x: number, y: number): [number, number] {
  return [(x - view.x) / stretch(view.k), (y - view.y) / view.k];
}

/** The view after d3-zoom, which knows one scale for both axes, went from one transform to another. */
export function moved(view: View, before: View, after: View): View {
  const factor = after.k / before.k;
  if (factor === 1) return { k: view.k, x: view.x + after.x - before.x, y: view.y + after.y - before.y };
  return zoomed(
    view,
    factor,
    (after.x - factor * before.x) / (1 - factor), // the point that stays where it is
    (after.y - factor * before.y) / (1 - factor),
  );
}

/** Zoomed about a point of the screen. */
export function zoomed(view: View, factor: number, x: number, y: number): View {
  const k = view.k * factor;
  return { k, x: x - ((x - view.x) * stretch(k)) / stretch(view.k), y: y - (y - view.y) * factor };
}

/** No further than that half of the screen is tree. */
export function kept(view: View, width: number, height: number): View {
  const keep = (at: number, size: number, scale: number) => Math.min(size / 2, Math.max(size / 2 - size * scale, at));
  return { k: view.k, x: keep(view.x, width, stretch(view.k)), y: keep(view.y, height, view.k) };
}

/** Panned so that a point of the tree is seen with room around it; the view itself where it is, or where all is seen. */
export function showing(view: View, x: number, y: number, width: number, height: number): View {
  const push = (at: number, size: number) => (at < ROOM ? ROOM - at : at > size - ROOM ? size - ROOM - at : 0);
  const [atX, atY] = toScreen(view, x, y);
  const [dx, dy] = [push(atX, width), push(atY, height)];
  return (dx || dy) && stretch(view.k) > 1 ? { k: view.k, x: view.x + dx, y: view.y + dy } : view;
}
