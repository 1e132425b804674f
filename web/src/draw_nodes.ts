// The nodes of a generation: pictures, or blocks where these are too small, with the rewards of leaves and with marks.
import { drawPicture } from "./draw_picture";
import { factsOf, plain } from "./facts";
import { font } from "./font";
import { rowY, type Place } from "./layout";
import { centre, pictureSize, rowHeight, SMALLEST_PICTURE, type Scene } from "./scene";
import type { Generation } from "./schema";
import { toScreen } from "./view";

const SMALLEST_TEXT = 8;

export function drawNodes(context: CanvasRenderingContext2D, scene: Scene, generation: number): void {
  const { tree, layout, view, height, grown } = scene;
  const { count, step } = tree.generations[generation];
  const [width, high] = pictureSize(scene, generation);
  const rows = rowHeight(layout, view, generation);
  const [at] = toScreen(view, layout.x[generation], 0);
  if (at < -100 || at > scene.width + 100) return;
  context.globalAlpha = grown[generation] ?? 1;
  if (high * scene.scale < SMALLEST_PICTURE) {
    drawBlocks(context, scene, generation, tree.generations[generation], rows);
  } else {
    const first = Math.max(0, Math.floor((-view.y / view.k - layout.top) / (rows / view.k) - 2));
    for (let index = first; index < count; index++) {
      const [x, y] = centre(scene, { generation, index });
      if (y + high / 2 < 0) continue;
      if (y - high / 2 > height) break;
      drawPicture(context, scene, { generation, index }, x, y, width, high);
      if (step === tree.sigmas.length - 1)
        drawRewards(context, scene, { generation, index }, at + width / 2 + 7, y, rows);
    }
  }
  context.globalAlpha = 1;
  drawMarks(context, scene, generation, width, high);
}

/** Leaves that are too small for pictures, as a strip in the colours of their advantages. */
function drawBlocks(
  context: CanvasRenderingContext2D,
  scene: Scene,
  generation: number,
  nodes: Generation,
  rows: number,
): void {
  const { tree, prompt, layout, view, height, theme, strongest, path } = scene;
  const stride = Math.max(1, Math.floor(1 / rows));
  const [x] = toScreen(view, layout.x[generation], 0);
  const side = Math.max(rows * stride, 1);
  const wide = nodes.step === tree.sigmas.length - 1 ? 10 : Math.min(6, Math.max(2, rows));
  if (path.length) context.globalAlpha *= 0.3;
  for (let first = 0; first < nodes.count; first += stride) {
    const [, y] = toScreen(view, 0, rowY(layout, nodes.count, first));
    if (y < -side || y > height + side) continue;
    let credit = 0;
    const after = Math.min(nodes.count, first + stride);
    for (let i = first; i < after; i++) credit += nodes.advantage[prompt * nodes.count + i] ?? 0;
    context.fillStyle = theme.advantage(credit / (after - first) / strongest);
    context.fillRect(x - wide / 2, y - rows / 2, wide, Math.max(1, side * (rows > 3 ? 0.85 : 1)));
  }
}

function drawRewards(
  context: CanvasRenderingContext2D,
  scene: Scene,
  place: Place,
  x: number,
  y: number,
  rows: number,
): void {
  const { tree, prompt, theme, path, scale } = scene;
  const size = Math.min(11, 0.85 * rows);
  if (size * scale < SMALLEST_TEXT) return;
  const values = factsOf(tree, prompt, place).rewards.map(([, value]) => (value === null ? "\u2013" : plain(value)));
  if (!values.length) return;
  const chosen = path[place.generation]?.index === place.index;
  context.font = font(size, chosen);
  context.fillStyle = chosen || !path.length ? theme.ink : theme.muted;
  context.textAlign = "left";
  context.textBaseline = "middle";
  context.fillText(values.slice(0, 2).join("  "), x, y);
}

/** Rings around the node under the pointer, the one with the focus, and those that are compared. */
function drawMarks(
  context: CanvasRenderingContext2D,
  scene: Scene,
  generation: number,
  width: number,
  height: number,
): void {
  const { theme, hover, focus, marked, path } = scene;
  const ring = (place: Place, colour: string, thickness: number) => {
    const [x, y] = centre(scene, place);
    const [w, h] = [Math.max(width, 8) + thickness, Math.max(height, 8) + thickness];
    context.strokeStyle = colour;
    context.lineWidth = thickness;
    context.beginPath();
    context.roundRect(x - w / 2, y - h / 2, w, h, Math.min(7, w / 6));
    context.stroke();
  };
  for (const place of path) if (place.generation === generation) ring(place, theme.ink, 1.5);
  for (const place of [hover, focus, ...marked])
    if (place && place.generation === generation) ring(place, place === hover ? theme.ink : theme.accent, 2);
}
