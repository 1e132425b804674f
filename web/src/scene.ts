// What one frame shows, and where its nodes are on the screen.
import type { Theme } from "./colours";
import { parentIndex, rowY, type Layout, type Place } from "./layout";
import { mix } from "./motion";
import type { Tree } from "./schema";
import { stretch, toScreen, type View } from "./view";

export interface Scene {
  tree: Tree;
  prompt: number;
  layout: Layout;
  view: View;
  width: number;
  height: number;
  /** How much larger than its own pixels it is seen. */
  scale: number;
  theme: Theme;
  sheet: CanvasImageSource | null;
  strongest: number;
  /** How far each generation has come out of the one before, from 0 to 1. */
  grown: number[];
  path: Place[];
  marked: Place[];
  focus: Place | null;
  hover: Place | null;
}

/** Height of the axis below the tree. */
export const AXIS = 40;
/** Pictures that would be seen smaller than this are drawn as blocks, numbers left out; in pixels. */
export const SMALLEST_PICTURE = 9;
const LARGEST_PICTURE = 84;
/** The part of its row that a picture fills. */
const FILL = 0.88;
/** Leaves are crowded while their pictures are less high than this; in pixels. */
const ZIGZAG = 34;

/** Size of a picture of a generation on the screen. */
export function pictureSize({ tree, layout, view }: Scene, generation: number): [width: number, height: number] {
  const shape = tree.sheet ? tree.sheet.height / tree.sheet.width : 1;
  const { x, noise } = layout;
  const gaps = [x[generation] - (x[generation - 1] ?? noise), (x[generation + 1] ?? Infinity) - x[generation]];
  const rows = rowHeight(layout, view, generation);
  const wide = Math.min(0.62 * Math.min(...gaps), LARGEST_PICTURE) * stretch(view.k);
  const high = areLeaves(layout, generation) ? Math.max(FILL * rows, Math.min(2 * FILL * rows, ZIGZAG)) : FILL * rows;
  const width = Math.min(wide, high / shape);
  return [width, width * shape];
}

/** Leaves that are crowded stand in two columns, left and right in turn, and have twice the height: how far apart. */
export function zigzag(scene: Scene, generation: number): number {
  const { layout, view, scale } = scene;
  if (!areLeaves(layout, generation)) return 0;
  const [width, height] = pictureSize(scene, generation);
  if (height * scale < SMALLEST_PICTURE) return 0;
  const crowded = height / rowHeight(layout, view, generation) - FILL;
  return Math.min(1, Math.max(0, crowded / 0.2)) * (width + 4);
}

function areLeaves({ steps, levels }: Layout, generation: number): boolean {
  return steps[generation] === levels.length - 1;
}

export function rowHeight({ top, bottom, counts }: Layout, view: View, generation: number): number {
  return (view.k * (bottom - top)) / counts[generation];
}

/** Centre of a node on the screen, on its way out of its parent while it is new. */
export function centre(scene: Scene, { generation, index }: Place): [x: number, y: number] {
  const { layout, view, grown } = scene;
  const { counts, x, noise } = layout;
  const arrived = grown[generation] ?? 1;
  let at = x[generation];
  let y = rowY(layout, counts[generation], index);
  if (arrived < 1) {
    const before = generation
      ? rowY(layout, counts[generation - 1], parentIndex(index, counts[generation], counts[generation - 1]))
      : y;
    at = mix(x[generation - 1] ?? noise, at, arrived);
    y = mix(before, y, arrived);
  }
  const [screenX, screenY] = toScreen(view, at, y);
  return [index % 2 ? screenX : screenX - zigzag(scene, generation), screenY];
}
