// The steps below the tree, and the window of the stochastic ones behind it.
import { font } from "./font";
import { AXIS, type Scene } from "./scene";
import { toScreen } from "./view";

export function drawWindow(
  context: CanvasRenderingContext2D,
  { tree, layout, view, width, height, theme }: Scene,
): void {
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

export function drawAxis(context: CanvasRenderingContext2D, { tree, layout, view, width, height, theme }: Scene): void {
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
