// What lies at a point of the canvas, and where that is which lies on it.
import { scaleOfPage } from "./camera";
import { indexAt, type Place } from "./layout";
import { AXIS, centre, pictureSize, type Scene } from "./scene";
import { toLayout, toScreen } from "./view";

export interface ScreenNode extends Place {
  x: number;
  y: number;
  width: number;
  height: number;
}

/** Where an event is, in the canvas's own pixels. */
export function pointOf(event: MouseEvent, canvas: HTMLCanvasElement): [x: number, y: number] {
  const box = canvas.getBoundingClientRect();
  const scale = scaleOfPage(canvas);
  return [(event.clientX - box.left) / scale, (event.clientY - box.top) / scale];
}

/** The node at a point; a leaf has its rewards beside it. */
export function nodeAt(scene: Scene, x: number, y: number): Place | null {
  const { tree, layout, view } = scene;
  if (y > scene.height - AXIS) return null;
  for (let generation = tree.generations.length - 1; generation >= 0; generation--) {
    const { count, step } = tree.generations[generation];
    const [width, height] = pictureSize(scene, generation);
    const row = indexAt(layout, count, toLayout(view, x, y)[1]);
    // Crowded leaves reach over into the rows beside theirs.
    for (const index of [row, row - 1, row + 1]) {
      if (index < 0 || index >= count) continue;
      const [atX, atY] = centre(scene, { generation, index });
      if (Math.abs(x - atX) <= Math.max(8, width / 2 + 2) && Math.abs(y - atY) <= Math.max(8, height / 2 + 2))
        return { generation, index };
    }
    const [edge] = toScreen(view, layout.x[generation], 0);
    const beside = x > edge + width / 2 && x < edge + width / 2 + 50;
    if (beside && step === tree.sigmas.length - 1) return { generation, index: row };
  }
  return null;
}

/** The nodes that are on the canvas, in its own pixels. */
export function screenNodes(scene: Scene): ScreenNode[] {
  return scene.tree.generations.flatMap(({ count }, generation) => {
    const [width, height] = pictureSize(scene, generation);
    return Array.from({ length: count }, (_, index) => {
      const [x, y] = centre(scene, { generation, index });
      return { generation, index, x, y, width, height };
    }).filter(({ x, y }) => x >= 0 && y >= 0 && x <= scene.width && y <= scene.height - AXIS);
  });
}
