// One frame of the tree. What is too small to be seen is drawn together, or not at all.
import type { Theme } from "./colours";
import { factsOf, plain, tileOf } from "./facts";
import { parentIndex, rowY, type Layout, type Place } from "./layout";
import type { Generation, Tree } from "./schema";
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

interface Edge {
  x0: number;
  y0: number;
  x1: number;
  y1: number;
  width: number;
  advantage: number;
  onPath: boolean;
}

/** Height of the axis below the tree. */
export const AXIS = 40;
/** Edges that would lie closer than this are drawn as one; in pixels. */
const MERGE = 3;
/** Pictures that would be seen smaller than this are drawn as blocks, numbers left out; in pixels. */
const SMALLEST_PICTURE = 9;
const SMALLEST_TEXT = 8;
const LARGEST_PICTURE = 84;
/** The part of its row that a picture fills. */
const FILL = 0.88;
/** Leaves are crowded while their pictures are less high than this; in pixels. */
const ZIGZAG = 34;
const WIDEST_EDGE = 16;

export function drawTree(context: CanvasRenderingContext2D, scene: Scene): void {
  const { width, height, layout, tree } = scene;
  context.clearRect(0, 0, width, height);
  drawWindow(context, scene);
  drawStems(context, scene);
  for (let generation = 1; generation < tree.generations.length; generation++) drawEdges(context, scene, generation);
  drawNoise(context, scene, layout);
  for (let generation = 0; generation < tree.generations.length; generation++) drawNodes(context, scene, generation);
  drawAxis(context, scene);
}

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
function zigzag(scene: Scene, generation: number): number {
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

function rowHeight({ top, bottom, counts }: Layout, view: View, generation: number): number {
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

function mix(from: number, to: number, part: number): number {
  return from + (to - from) * part;
}

function drawWindow(context: CanvasRenderingContext2D, { tree, layout, view, width, height, theme }: Scene): void {
  if (!tree.window.length) return;
  const [from] = toScreen(view, layout.levels[Math.min(...tree.window)], 0);
  const [to] = toScreen(view, layout.levels[Math.max(...tree.window) + 1], 0);
  if (to < 0 || from > width) return;
  context.globalAlpha = 0.06;
  context.fillStyle = theme.ink;
  context.fillRect(from, 0, to - from, height - AXIS);
  context.globalAlpha = 1;
  if (to - from < 96) return;
  context.fillStyle = theme.muted;
  context.font = font(10);
  context.textAlign = "left";
  context.textBaseline = "top";
  context.fillText("stochastic steps", Math.max(from, 0) + 8, 8);
}

function drawStems(context: CanvasRenderingContext2D, scene: Scene): void {
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

function drawEdges(context: CanvasRenderingContext2D, scene: Scene, generation: number): void {
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

/** A river that splits. */
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

function drawNodes(context: CanvasRenderingContext2D, scene: Scene, generation: number): void {
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

export function drawPicture(
  context: CanvasRenderingContext2D,
  { tree, prompt, sheet, theme, path, marked }: Pick<Scene, "tree" | "prompt" | "sheet" | "theme" | "path" | "marked">,
  place: Place,
  x: number,
  y: number,
  width: number,
  height: number,
): void {
  const left = x - width / 2;
  const top = y - height / 2;
  const tile = tileOf(tree, prompt, place);
  const round = width < 40 ? 0 : 6;
  const alpha = context.globalAlpha;
  const chosen = [...path, ...marked].some(
    ({ generation, index }) => generation === place.generation && index === place.index,
  );
  const aside = path.length > 0 && !chosen;
  context.save();
  context.beginPath();
  context.roundRect(left, top, width, height, round);
  if (round) context.clip(); // which takes its time, so small pictures go without
  context.fillStyle = theme.paper;
  context.fillRect(left, top, width, height);
  if (aside) context.globalAlpha = alpha * 0.45;
  if (sheet && tree.sheet && tile < tree.sheet.tiles) {
    const { width: w, height: h, columns } = tree.sheet;
    context.drawImage(sheet, (tile % columns) * w, Math.floor(tile / columns) * h, w, h, left, top, width, height);
  } else {
    context.fillStyle = theme.line;
    context.fillRect(left, top, width, height);
    drawAbsence(context, theme, x, y, Math.min(width, height) / 5);
  }
  context.restore();
  context.lineWidth = 1;
  context.strokeStyle = theme.line;
  context.beginPath();
  context.roundRect(left, top, width, height, round);
  context.stroke();
}

/** The mark of a picture that is not there. */
function drawAbsence(context: CanvasRenderingContext2D, theme: Theme, x: number, y: number, size: number): void {
  context.strokeStyle = theme.muted;
  context.lineWidth = 1.5;
  context.beginPath();
  context.moveTo(x - size, y - size);
  context.lineTo(x + size, y + size);
  context.moveTo(x + size, y - size);
  context.lineTo(x - size, y + size);
  context.stroke();
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

let speckle: HTMLCanvasElement | undefined;

/** Where every tree begins. */
function drawNoise(context: CanvasRenderingContext2D, { view }: Scene, layout: Layout): void {
  const [x, y] = toScreen(view, layout.noise, (layout.top + layout.bottom) / 2);
  speckle ??= makeSpeckle();
  const side = 26 * Math.sqrt(stretch(view.k));
  context.save();
  context.beginPath();
  context.arc(x, y, side / 2, 0, 2 * Math.PI);
  context.clip();
  context.imageSmoothingEnabled = false;
  context.drawImage(speckle, x - side / 2, y - side / 2, side, side);
  context.restore();
}

function makeSpeckle(): HTMLCanvasElement {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 14;
  const context = canvas.getContext("2d")!;
  let state = 7;
  for (let i = 0; i < 196; i++) {
    state = (state * 16807) % 2147483647;
    const level = 60 + (state % 160);
    context.fillStyle = `rgb(${level} ${level} ${level + 8})`;
    context.fillRect(i % 14, Math.floor(i / 14), 1, 1);
  }
  return canvas;
}

function drawAxis(context: CanvasRenderingContext2D, { tree, layout, view, width, height, theme }: Scene): void {
  const top = height - AXIS;
  context.clearRect(0, top, width, AXIS);
  context.strokeStyle = theme.line;
  context.fillStyle = theme.muted;
  context.lineWidth = 1;
  context.beginPath();
  context.moveTo(0, top + 0.5);
  context.lineTo(width, top + 0.5);
  for (const level of layout.levels) {
    const x = Math.round(toScreen(view, level, 0)[0]) + 0.5;
    context.moveTo(x, top);
    context.lineTo(x, top + 4);
  }
  context.stroke();
  context.textAlign = "center";
  context.textBaseline = "top";
  const label = (at: number, name: string, below: string) => {
    const [x] = toScreen(view, at, 0);
    context.fillStyle = theme.ink;
    context.font = font(11);
    context.fillText(name, x, top + 9);
    context.fillStyle = theme.muted;
    context.font = font(10);
    context.fillText(below, x, top + 23);
  };
  label(layout.noise, "noise", "");
  layout.x.forEach((x, i) => {
    const step = layout.steps[i];
    const finished = step === tree.sigmas.length - 1;
    label(x, finished ? "finished" : `step ${step}`, `\u03c3 ${tree.sigmas[step].toFixed(2)}`);
  });
}

function font(size: number, bold = false): string {
  return `${bold ? "600 " : ""}${size}px Inter, system-ui, sans-serif`;
}
