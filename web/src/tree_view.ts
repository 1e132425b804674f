// The tree on a canvas, for pointer and keys. It draws when something has changed, and not otherwise.
import { camera, scaleOfPage } from "./camera";
import { themeOf } from "./colours";
import { drawTree } from "./draw_tree";
import { element } from "./element";
import { factsOf, neighbour, spoken, strongest } from "./facts";
import { growth } from "./growth";
import { nodeAt, pointOf, screenNodes, type ScreenNode } from "./hits";
import { layout, pathTo, rowY, type Place } from "./layout";
import { AXIS, type Scene } from "./scene";
import type { Tree } from "./schema";
import { sheetLoader } from "./sheet";
import { treeCard } from "./tree_card";
import { treeTip } from "./tree_tip";
import type { View } from "./view";

export interface TreeView {
  element: HTMLElement;
  show(tree: Tree | null, prompt: number): void;
  fit(): void;
  destroy(): void;
}

/** For tests in a browser: the latest times between frames of one movement in ms, and where the nodes are. */
export interface TreeHook {
  frames(): number[];
  view(): View & {
    prompt: number;
    iteration: number | null;
    nodes: ScreenNode[];
    focus: Place | null;
    picked: Place[];
  };
}

/** Pixels between leaves when they are seen from nearest. */
const NEAREST = 150;

export function treeView(said: (note: string) => void): TreeView {
  const canvas = element("canvas", {
    tabIndex: 0,
    role: "application",
    "aria-roledescription": "tree of pictures",
    "data-capture-wheel": "true", // Nodes 2.0 leaves the wheel to it while it has the focus
    "aria-label":
      "Tree of pictures. Arrow keys move along it, Enter opens a picture, plus and minus zoom, 0 shows all.",
  });
  const voice = element("div", { className: "voice", role: "status", "aria-live": "polite" });
  const tip = treeTip();
  const card = treeCard({ close: () => pick(null), compare: askForSecond, choose: (place) => pick(place) });
  const host = element("div", { className: "view" }, canvas, tip.element, card.element, voice);
  const context = canvas.getContext("2d");

  let tree: Tree | null = null;
  let prompt = 0;
  let scene: Scene | null = null;
  let focus: Place | null = null;
  let hover: Place | null = null;
  let picked: Place[] = [];
  let second = false;
  let requested = 0;
  let lastFrame = 0;
  const frames: number[] = [];

  const seen = camera(canvas, changed, () => tip.hide());
  const appearing = growth();
  const sheet = sheetLoader(() => {
    said(sheet.missing ? "The pictures of this tree are gone." : "");
    showCard();
    changed();
  });

  // --- drawing

  function changed(): void {
    requested ||= requestAnimationFrame(frame);
  }

  function frame(now: number): void {
    requested = 0;
    if (lastFrame) frames.push(now - lastFrame);
    if (frames.length > 240) frames.shift();
    const gliding = seen.advance(now);
    const grown = appearing.at(now);
    update(grown);
    if (scene && context) drawTree(context, scene);
    else context?.clearRect(0, 0, canvas.width, canvas.height);
    const moving = gliding || grown.some((part) => part < 1);
    if (moving) changed();
    lastFrame = moving || seen.dragging ? now : 0; // a rest is no slow frame
  }

  function update(grown: number[]): void {
    const width = canvas.clientWidth;
    const height = canvas.clientHeight;
    if (!tree || !tree.sigmas.length || width < 40 || height < 80) {
      scene = null;
      return;
    }
    // The node may be seen enlarged, so the pixels are those of the screen.
    const scale = scaleOfPage(canvas);
    const pixels = Math.min(3, Math.ceil(2 * (devicePixelRatio || 1) * scale) / 2);
    if (canvas.width !== Math.round(width * pixels) || canvas.height !== Math.round(height * pixels)) {
      canvas.width = Math.round(width * pixels);
      canvas.height = Math.round(height * pixels);
    }
    context?.setTransform(pixels, 0, 0, pixels, 0, 0);
    const labels = Object.keys(tree.rewards).length > 1 ? 84 : 58;
    const room = { left: 28, right: width - labels, top: 14, bottom: height - AXIS - 10 };
    const placed = layout(tree, room);
    const counts = tree.generations.map(({ count }) => count);
    scene = {
      tree,
      prompt,
      layout: placed,
      view: seen.view,
      width,
      height,
      scale,
      theme: themeOf(canvas),
      sheet: sheet.picture,
      strongest: strongest(tree, prompt),
      grown,
      path: picked.length ? pathTo(counts, picked[picked.length - 1]) : [],
      marked: picked,
      focus: document.activeElement === canvas ? focus : null,
      hover,
    };
    seen.limit(Math.max(4, (NEAREST * Math.max(...placed.counts)) / (room.bottom - room.top)));
  }

  // --- pointer

  canvas.addEventListener("pointermove", (event) => {
    if (seen.dragging) return;
    const at = pointOf(event, canvas);
    point(scene && nodeAt(scene, ...at), at);
  });
  canvas.addEventListener("pointerleave", () => point(null, [0, 0]));
  canvas.addEventListener("pointerenter", changed); // the graph may have been zoomed meanwhile
  canvas.addEventListener("click", (event) => {
    const place = scene && nodeAt(scene, ...pointOf(event, canvas));
    canvas.focus({ preventScroll: true });
    if (place) focus = place;
    pick(place, event.shiftKey);
  });

  function point(place: Place | null, at: [number, number]): void {
    if (!same(place, hover)) {
      hover = place;
      canvas.style.cursor = place ? "pointer" : "";
      changed();
    }
    if (place && scene) tip.show(scene, place, at);
    else tip.hide();
  }

  // --- what is picked

  function pick(place: Place | null, beside = false): void {
    if (!tree) return;
    const first = picked[0];
    const pair = place && first && (beside || second) && !same(first, place) && isLeaf(place) && isLeaf(first);
    picked = pair ? [first, place] : place ? [place] : [];
    second = false;
    tip.hide();
    showCard();
    changed();
  }

  function askForSecond(): void {
    second = true;
    showCard();
  }

  function showCard(): void {
    if (scene && tree) card.show({ ...scene, tree, prompt, sheet: sheet.picture, marked: picked }, second);
    else card.hide();
  }

  function isLeaf(place: Place): boolean {
    return tree !== null && factsOf(tree, prompt, place).leaf;
  }

  // --- keys

  canvas.addEventListener("focus", () => {
    focus ??= picked[0] ?? (tree?.generations.length ? { generation: 0, index: 0 } : null);
    if (canvas.matches(":focus-visible")) speak();
    changed();
  });
  canvas.addEventListener("blur", changed);
  host.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape" && picked.length) {
      pick(null);
      canvas.focus({ preventScroll: true });
    } else if (event.target !== canvas || !act(event)) return;
    event.preventDefault();
    event.stopPropagation();
  });

  function act({ key, shiftKey }: KeyboardEvent): boolean {
    if (!tree || !scene) return false;
    if (key === "0") seen.fit();
    else if (key === "+" || key === "=") seen.zoomBy(1.6);
    else if (key === "-") seen.zoomBy(1 / 1.6);
    else if (key === "Enter" || key === " ") {
      if (focus) pick(focus, shiftKey);
    } else if (key.startsWith("Arrow")) {
      const place = focus ? neighbour(tree, prompt, focus, key) : { generation: 0, index: 0 };
      if (place) {
        const { x, counts } = scene.layout;
        seen.reveal(x[place.generation], rowY(scene.layout, counts[place.generation], place.index));
        focus = place;
      }
      speak();
      changed();
    } else return false;
    return true;
  }

  function speak(): void {
    voice.textContent = tree && focus ? spoken(tree, prompt, focus) : "";
  }

  // --- what is shown

  function show(next: Tree | null, ofPrompt: number): void {
    const grows =
      next && tree && next.iteration === tree.iteration && next.generations.length >= tree.generations.length;
    appearing.show(next?.generations.length ?? 0, Boolean(grows), performance.now());
    if (!grows) seen.reset();
    if (!grows || ofPrompt !== prompt) {
      picked = [];
      second = false;
      hover = focus = null;
    }
    tree = next;
    prompt = ofPrompt;
    sheet.load(next?.sheet ?? null);
    update(appearing.at(Infinity));
    showCard();
    changed();
  }

  const resized = new ResizeObserver(changed);
  resized.observe(host);

  const hook: TreeHook = {
    frames: () => [...frames],
    view: () => ({
      ...seen.view,
      prompt,
      iteration: tree?.iteration ?? null,
      nodes: scene ? screenNodes(scene) : [],
      focus,
      picked: [...picked],
    }),
  };
  Object.defineProperty(canvas, "treegrpo", { value: hook });

  return {
    element: host,
    show,
    fit: seen.fit,
    destroy() {
      resized.disconnect();
      cancelAnimationFrame(requested);
    },
  };
}

function same(a: Place | null, b: Place | null): boolean {
  return a === b || (a !== null && b !== null && a.generation === b.generation && a.index === b.index);
}
