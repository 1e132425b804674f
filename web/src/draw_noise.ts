// Where every tree begins.
import type { Scene } from "./scene";
import { stretch, toScreen } from "./view";

let speckle: HTMLCanvasElement | undefined;

export function drawNoise(context: CanvasRenderingContext2D, { view, layout }: Scene): void {
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
