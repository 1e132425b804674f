// Colours that canvases need; the rest is in treegrpo.css.
import { interpolateRgbBasis } from "d3-interpolate";
import { scaleDiverging } from "d3-scale";
import { schemeRdBu } from "d3-scale-chromatic";

export interface Theme {
  ink: string;
  muted: string;
  line: string;
  paper: string;
  accent: string;
  /** The colour of an advantage, from -1 to 1: red, grey and blue, which colour-blind eyes tell apart. */
  advantage(value: number): string;
}

const STEPS = 16;
const themes = new Map<string, Theme>();

/** The theme of an element under .treegrpo. */
export function themeOf(inside: Element): Theme {
  const style = getComputedStyle(inside);
  const names = ["ink", "muted", "line", "paper", "accent"].map((name) =>
    style.getPropertyValue(`--treegrpo-${name}`).trim(),
  );
  const key = names.join();
  let theme = themes.get(key);
  if (!theme) {
    const [ink, muted, line, paper, accent] = names;
    theme = { ink, muted, line, paper, accent, advantage: advantageColours(isDark(ink, paper)) };
    themes.set(key, theme);
  }
  return theme;
}

/** What stands out depends on what lies behind: bright colours on dark, deep ones on light. */
export function advantageColours(dark: boolean): (value: number) => string {
  const [red, , , , , , blue] = schemeRdBu[7];
  const [, paleRed, , , , paleBlue] = schemeRdBu[7];
  const stops = dark ? ["#ff7a50", paleRed, "#6b6b70", paleBlue, "#4ba3ff"] : [red, paleRed, "#c4c4c8", paleBlue, blue];
  const scale = scaleDiverging(interpolateRgbBasis(stops)).domain([-1, 0, 1]).clamp(true);
  const colours = Array.from({ length: 2 * STEPS + 1 }, (_, i) => scale(i / STEPS - 1));
  return (value) => colours[Math.round((Math.min(1, Math.max(-1, value)) + 1) * STEPS)];
}

function isDark(ink: string, paper: string): boolean {
  return brightness(ink) > brightness(paper);
}

let probe: CanvasRenderingContext2D | null | undefined;

/** Any CSS colour, so the browser has to work it out. */
function brightness(colour: string): number {
  probe ??= document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  if (!probe) return 0;
  probe.fillStyle = colour;
  probe.fillRect(0, 0, 1, 1);
  const [r, g, b] = probe.getImageData(0, 0, 1, 1).data;
  return 0.299 * r + 0.587 * g + 0.114 * b;
}
