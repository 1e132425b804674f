// Edges as rivers that split: as wide as their share, in the colours of their advantages.
import { parentIndex, rowY } from "./layout";
import { mix } from "./motion";
import { centre, rowHeight, zigzag, type Scene } from "./scene";
import { stretch, toScreen, type View } from "./view";

interface Edge {
  x0: number;
  y0: number;
  x1: number;
  y1: number;
  width: number;
  advantage: number;
  onPath: boolean;
}

/** Edges that would lie closer than this are drawn as one; in pixels. */
const MERGE = 3;
const WIDEST_EDGE = 16;

/** From the noise to the first generation. */
export function drawStems(context: CanvasRenderingContext2D, scene: Scene): void {
  const { tree, layout, view, theme, path } = scene;
  if (!tree.generations.length) return;
  const { count } = tree.generations[0];
  const [x0, y0] = toScreen(view, layout.noise, (layout.top + layout.bottom) / 2);
  context.strokeStyle = theme.line;
  for (let index = 0; index < count; index++) {
    const [x1, y1] = centre(scene, { generation: 0, index });
    context.globalAlpha = path.length && path[0].index !== index ? 0.3 : 1;
    context.lineWidth = edgeWidth(1 / count, view);
    curve(context, x0, y0, x1, y1);
  }
  context.globalAlpha = 1;
}

/** Into a generation from the one before. */
export function drawEdges(context: CanvasRenderingContext2D, scene: Scene, generation: number): void {
  const { theme, strongest, path, grown, width, height, layout, view } = scene;
  const [from] = toScreen(view, layout.x[generation - 1], 0);
  const [to] = toScreen(view, layout.x[generation], 0);
  if (to < 0 || from > width) return;
  const faded = path.length ? 0.16 : 1;
  const arrived = grown[generation] ?? 1;
  for (const edge of edges(scene, generation)) {
    if (Math.max(edge.y0, edge.y1) < 0 || Math.min(edge.y0, edge.y1) > height) continue;
    context.globalAlpha = (edge.onPath ? 1 : faded) * arrived;
    context.strokeStyle = theme.advantage(edge.advantage / strongest);
    context.lineWidth = edge.onPath ? Math.max(2.5, edge.width) : edge.width;
    curve(context, edge.x0, edge.y0, edge.x1, edge.y1);
  }
  context.globalAlpha = 1;
}

/** The edges into a generation, neighbours merged where they are closer than a few pixels; strong ones last. */
function edges(scene: Scene, generation: number): Edge[] {
  const { tree, prompt, layout, view, path, grown } = scene;
  const { count, advantage, share } = tree.generations[generation];
  const before = tree.generations[generation - 1].count;
  const rows = rowHeight(layout, view, generation);
  const stride = Math.max(1, Math.floor(MERGE / rows));
  const chosen = path[generation]?.index ?? -1;
  const found: Edge[] = [];
  const arrived = grown[generation] ?? 1;
  const [x0] = toScreen(view, layout.x[generation - 1], 0);
  const [x1] = toScreen(view, mix(layout.x[generation - 1], layout.x[generation], arrived), 0);
  const aside = zigzag(scene, generation);
  for (let first = 0; first < count; first += stride) {
    const after = Math.min(count, first + stride);
    let whole = 0;
    let credit = 0;
    for (let i = first; i < after; i++) {
      const part = share[prompt * count + i] ?? 1 / count;
      whole += part;
      credit += part * (advantage[prompt * count + i] ?? 0);
    }
    const onPath = chosen >= first && chosen < after;
    const index = onPath ? chosen : (first + after - 1) >> 1;
    const [, y0] = toScreen(view, 0, rowY(layout, before, parentIndex(index, count, before)));
    const [, y1] = toScreen(view, 0, rowY(layout, count, index));
    found.push({
      x0,
      y0,
      x1: index % 2 ? x1 : x1 - aside,
      y1: mix(y0, y1, arrived),
      width: edgeWidth(whole, view),
      advantage: whole > 0 ? credit / whole : 0,
      onPath,
    });
  }
  return found.sort((a, b) => Number(a.onPath) - Number(b.onPath) || Math.abs(a.advantage) - Math.abs(b.advantage));
}

function edgeWidth(share: number, view: View): number {
  return Math.max(1, WIDEST_EDGE * Math.sqrt(share * stretch(view.k)));
}

function curve(context: CanvasRenderingContext2D, x0: number, y0: number, x1: number, y1: number): void {
  const middle = (x0 + x1) / 2;
  context.beginPath();
  context.moveTo(x0, y0);
  context.bezierCurveTo(middle, y0, middle, y1, x1, y1);
  context.stroke();
}
