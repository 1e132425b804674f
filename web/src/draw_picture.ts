// The picture of one node.
import type { Theme } from "./colours";
import { tileOf } from "./facts";
import type { Place } from "./layout";
import type { Scene } from "./scene";

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
