// The rewards over the iterations: the mean in its band of spread, and judgements of held-out pictures as dots.
import uPlot from "uplot";
import { themeOf } from "./colours";
import { linesOf, type Judged, type Line } from "./curves";
import { element } from "./element";
import { plain } from "./facts";
import type { Curves } from "./schema";

export interface CurvesView {
  element: HTMLElement;
  show(curves: Curves | null): void;
  destroy(): void;
}

const HEIGHT = 116;
/** The two differ in lightness too, for colour-blind eyes. */
const DOTS: Record<Judged["what"], string> = { "held out": "#e69f00", watched: "#009e73" };

export function curvesView(): CurvesView {
  const host = element("div", { className: "curves", hidden: true });
  let plots: uPlot[] = [];
  let shown = "";
  let latest: Curves | null = null;

  function show(curves: Curves | null): void {
    latest = curves;
    const lines = curves && curves.iteration.length ? linesOf(curves) : [];
    host.hidden = lines.length === 0;
    if (!curves || host.hidden || !host.clientWidth) return;
    const { accent, muted, line } = themeOf(host);
    const look = JSON.stringify([lines.map((of) => [of.name, isTrained(of), of.judged?.what]), accent, muted, line]);
    if (look !== shown) {
      clear();
      shown = look;
      plots = lines.map((of) => plot(host, of));
    }
    plots.forEach((plot, i) => plot.setData(data(curves, lines[i])));
    fit();
  }

  function clear(): void {
    for (const plot of plots) plot.destroy();
    plots = [];
    host.replaceChildren();
    shown = "";
  }

  function fit(): void {
    for (const plot of plots) {
      const width = plot.root.parentElement!.clientWidth;
      if (width && width !== plot.width) plot.setSize({ width, height: HEIGHT });
    }
  }

  const resized = new ResizeObserver(() => (plots.length ? fit() : show(latest)));
  resized.observe(host);
  return {
    element: host,
    show,
    destroy() {
      resized.disconnect();
      clear();
    },
  };
}

function data({ iteration }: Curves, { mean, low, high, judged }: Line): uPlot.AlignedData {
  return [iteration.map((n) => n + 1), mean, high, low, judged?.marks ?? iteration.map(() => null)];
}

function plot(host: HTMLElement, line: Line): uPlot {
  const { accent, muted, line: grid } = themeOf(host);
  const name = element("h4", {}, line.name);
  const { judged } = line;
  const dots = DOTS[judged?.what ?? "held out"];
  if (isTrained(line)) name.append(mark("\u2501 trained", accent));
  if (judged && judged.what !== line.name) name.append(mark(`\u25cf ${judged.what}`, dots));
  const value = element("output");
  const box = element("figure", {}, element("figcaption", {}, name, value), element("div"));
  host.append(box);
  const axis = { stroke: muted, font: "10px Inter, system-ui, sans-serif", ticks: { show: false } };
  const made: uPlot = new uPlot(
    {
      width: Math.max(120, box.clientWidth),
      height: HEIGHT,
      legend: { show: false },
      cursor: { y: false, drag: { setScale: false }, points: { size: 6 } },
      scales: { x: { time: false } },
      axes: [
        {
          ...axis,
          grid: { show: false },
          size: 22,
          gap: 2,
          incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000],
        },
        { ...axis, grid: { stroke: grid, width: 1 }, size: 44, gap: 4, values: (_, ticks) => ticks.map(plain) },
      ],
      bands: [{ series: [2, 3], fill: faded(accent) }],
      series: [
        {},
        { stroke: accent, width: 2, points: { show: isSingle, size: 6, fill: accent }, spanGaps: true },
        { stroke: "transparent", width: 0, points: { show: false } },
        { stroke: "transparent", width: 0, points: { show: false } },
        {
          stroke: dots,
          width: 1.5,
          dash: [4, 4],
          spanGaps: true,
          points: { show: true, size: 6, fill: dots },
        },
      ],
      hooks: {
        setCursor: [(plot) => (value.textContent = reading(plot, judged))],
        setData: [(plot) => (value.textContent = reading(plot, judged))],
      },
    },
    [[], [], [], [], []],
    box.lastElementChild as HTMLElement,
  );
  made.root.parentElement!.parentElement!.setAttribute("aria-label", line.name);
  return made;
}

/** The iteration under the pointer, or the last one. Like everywhere that people look, iterations count from 1. */
function reading(plot: uPlot, judged: Judged | null): string {
  const [iterations, means, highs, , marks] = plot.data;
  const i = plot.cursor.idx ?? iterations.length - 1;
  if (i < 0) return "";
  const [mean, high, mark] = [means[i], highs[i], marks[i]];
  const parts = [`iteration ${iterations[i]}`];
  if (mean != null) parts.push(plain(mean) + (high == null ? "" : ` \u00b1 ${plain(high - mean)}`));
  if (judged && mark != null) parts.push(`${judged.what} ${plain(mark)}`);
  return parts.join("  \u00b7  ");
}

/** One iteration has no line yet. */
function isSingle(plot: uPlot): boolean {
  return plot.data[0].length === 1;
}

function isTrained({ mean }: Line): boolean {
  return mean.some((value) => value !== null);
}

/** An entry of the legend. */
function mark(text: string, colour: string): HTMLElement {
  const entry = element("span", {}, text);
  entry.style.color = colour;
  return entry;
}

function faded(colour: string): string {
  return `color-mix(in srgb, ${colour} 22%, transparent)`;
}
