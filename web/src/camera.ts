// Zoom and pan of a canvas: by wheel and pointer, or gliding from one view to another.
import { select } from "d3-selection";
import { zoom, zoomIdentity, type ZoomTransform } from "d3-zoom";
import { between, calm, ease } from "./motion";
import { AXIS } from "./scene";
import { kept, moved, showing, WHOLE, zoomed, type View } from "./view";

export interface Camera {
  readonly view: View;
  readonly dragging: boolean;
  /** Moves on to a moment in ms; whether it is still on its way. */
  advance(now: number): boolean;
  /** Pans so that a point of the tree, in pixels before zoom, is seen. */
  reveal(x: number, y: number): void;
  /** Larger by a factor, around the middle. */
  zoomBy(factor: number): void;
  /** Shows all. */
  fit(): void;
  /** Shows all at once. */
  reset(): void;
  /** How much larger than the whole it may become. */
  limit(most: number): void;
}

const GLIDE = 280;

/** changed: what is seen is no longer right. began: a gesture begins. */
export function camera(canvas: HTMLCanvasElement, changed: () => void, began: () => void): Camera {
  let view = WHOLE;
  let glide: { from: View; to: View; start: number } | null = null;
  let before: View = WHOLE;
  let dragging = false;

  const zooming = zoom<HTMLCanvasElement, unknown>()
    .filter((event: MouseEvent) => {
      takeUp();
      return !event.button && !(event.ctrlKey && event.type !== "wheel");
    })
    .clickDistance(4)
    .on("start", () => {
      dragging = true;
      began();
    })
    .on("zoom", ({ transform }: { transform: ZoomTransform }) => {
      const scale = scaleOfPage(canvas);
      const after = { k: transform.k, x: transform.x / scale, y: transform.y / scale };
      view = keptInside(moved(view, before, after));
      before = after;
      changed();
    })
    .on("end", () => (dragging = false));

  /** A gesture begins where the view is; d3-zoom counts in pixels of the page, whatever the graph's own zoom. */
  function takeUp(): void {
    glide = null;
    before = view;
    const scale = scaleOfPage(canvas);
    Object.assign(canvas, { __zoom: zoomIdentity.translate(view.x * scale, view.y * scale).scale(view.k) });
  }

  function keptInside(to: View): View {
    return kept(to, canvas.clientWidth, canvas.clientHeight - AXIS);
  }

  function glideTo(to: View): void {
    const start = performance.now();
    glide = { from: view, to, start: calm() ? start - GLIDE : start };
    changed();
  }

  /** Where it is on its way to, so that one key press goes on from where the last one leads. */
  function target(): View {
    return glide?.to ?? view;
  }

  function limited(to: View): View {
    const [least, most] = zooming.scaleExtent();
    if (to.k <= least) return WHOLE;
    return to.k > most ? target() : keptInside(to);
  }

  select(canvas).call(zooming).on("dblclick.zoom", null);
  canvas.addEventListener("dblclick", (event) => {
    event.stopPropagation();
    glideTo(WHOLE);
  });
  // At the end of the scale, too, the wheel is for the tree and not for the graph.
  canvas.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      event.stopPropagation();
    },
    { passive: false },
  );

  return {
    get view() {
      return view;
    },
    get dragging() {
      return dragging;
    },
    advance(now) {
      if (!glide) return false;
      const part = Math.min(1, (now - glide.start) / GLIDE);
      view = between(glide.from, glide.to, ease(part));
      if (part === 1) glide = null;
      return glide !== null;
    },
    reveal(x, y) {
      const to = showing(target(), x, y, canvas.clientWidth, canvas.clientHeight - AXIS);
      if (to !== target()) glideTo(to);
    },
    zoomBy(factor) {
      const middle = [canvas.clientWidth / 2, (canvas.clientHeight - AXIS) / 2] as const;
      glideTo(limited(zoomed(target(), factor, ...middle)));
    },
    fit: () => glideTo(WHOLE),
    reset() {
      glide = null; // which would go on to where the last tree was looked at
      view = WHOLE;
    },
    limit: (most) => zooming.scaleExtent([1, most]),
  };
}

/** How much larger than its own pixels a canvas is seen. */
export function scaleOfPage(canvas: HTMLCanvasElement): number {
  return canvas.offsetWidth ? canvas.getBoundingClientRect().width / canvas.offsetWidth : 1;
}
