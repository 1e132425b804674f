// In place of ComfyUI's api and its server.
import type { Ballot, Tree } from "../../src/schema";
import { chance, grownTree, growing, someCurves, someRun, summary } from "../trees";

const query = new URLSearchParams(location.search);
const size = query.get("tree") ?? "27";
const BRANCHES: Record<string, number[]> = { "27": [3, 3, 3], "64": [4, 4, 4], "4096": [4, 4, 4, 4, 4, 4] };
const whole = grownTree(
  BRANCHES[size],
  size === "4096" ? ["a lighthouse at dusk"] : undefined,
  size === "4096" ? 12 : 10,
);
if (size === "4096") whole.sheet!.columns = 80;
let shown: Tree = query.get("grow") ? growing(whole, 0) : whole;
const ballots: Ballot[] = query.get("votes")
  ? [1, 2].map((place) => ({
      id: `b${place}`,
      prompt: whole.prompts[place - 1],
      how: query.get("votes") as Ballot["how"],
      pictures: Array.from({ length: Number(query.get("leaves") ?? 9) }, (_, i) => ({
        filename: `leaf-${place}-${i}.png`,
        subfolder: "",
        type: "temp" as const,
      })),
      place,
      of: 8,
      deadline: Date.now() / 1000 + 272,
    }))
  : [];

function answer(route: string, options?: RequestInit): unknown {
  const parts = decodeURIComponent(route).split("/").slice(2);
  if (parts[0] === "ballots" && options?.method === "POST") {
    const at = ballots.findIndex(({ id }) => id === parts[1]);
    if (at < 0) return 404;
    ballots.splice(at, 1);
    return {};
  }
  if (parts[0] === "ballots") return { ballots };
  if (parts[0] !== "runs") return 404;
  if (parts.length === 1)
    return {
      runs: [
        summary("my taste", { running: true }),
        summary("watercolour, loose", {
          done: 100,
          before: { clipscore: 0.31, stars: 2.1 },
          after: { clipscore: 0.47, stars: 3.9 },
        }),
        summary("a broken one", {
          problem: "metrics.jsonl ends in the middle of a line.",
          thumbnail: null,
          resumable: false,
        }),
      ],
    };
  if (parts[1] === "gone") return 404;
  if (parts[2] === "trees") return parts[3] === "5" ? 422 : shown;
  if (parts[2] === "workflow") return { nodes: [], links: [], version: 0.4 };
  return someRun(parts[1], { curves: someCurves(40, query.get("rewards")?.split(",") ?? ["clipscore"], query.get("watched")?.split(",")) });
}

const sheets = new Map<string, string>();

/** Little dusks, no two alike. */
function sheetUrl(columns: number, tiles: number): string {
  const key = `${columns} ${tiles}`;
  let url = sheets.get(key);
  if (!url) {
    const side = 64;
    const canvas = document.createElement("canvas");
    canvas.width = columns * side;
    canvas.height = Math.ceil(tiles / columns) * side;
    const context = canvas.getContext("2d")!;
    const draw = chance(3);
    for (let i = 0; i < tiles; i++) picture(context, (i % columns) * side, Math.floor(i / columns) * side, side, draw);
    url = canvas.toDataURL("image/jpeg", 0.9);
    sheets.set(key, url);
  }
  return url;
}

function picture(context: CanvasRenderingContext2D, x: number, y: number, side: number, draw: () => number): void {
  const hue = draw() * 360;
  const sky = context.createLinearGradient(x, y, x, y + side);
  sky.addColorStop(0, `hsl(${hue} 45% 30%)`);
  sky.addColorStop(0.65, `hsl(${hue + 40} 70% 70%)`);
  context.fillStyle = sky;
  context.fillRect(x, y, side, side);
  context.fillStyle = `hsl(${hue + 50} 90% 86%)`;
  context.beginPath();
  context.arc(x + side * (0.25 + 0.5 * draw()), y + side * (0.3 + 0.2 * draw()), side * (0.06 + 0.08 * draw()), 0, 7);
  context.fill();
  context.fillStyle = `hsl(${hue + 200} 30% 22%)`;
  context.fillRect(x, y + side * 0.7, side, side * 0.3);
  const tower = x + side * (0.3 + 0.4 * draw());
  context.fillStyle = `hsl(${hue + 180} 15% 92%)`;
  context.fillRect(tower, y + side * 0.34, side * 0.12, side * 0.42);
}

class Api extends EventTarget {
  async fetchApi(route: string, options?: RequestInit): Promise<Response> {
    if (query.get("down")) throw new TypeError("Failed to fetch");
    const found = answer(route, options);
    if (typeof found !== "number") return new Response(JSON.stringify(found));
    const error = found === 404 ? "There is no run of this name." : "trees/5.json ends in the middle.";
    return new Response(JSON.stringify({ error }), { status: found });
  }
  apiURL(route: string): string {
    if (query.get("lost")) return "/nothing.png";
    const name = new URLSearchParams(route.split("?")[1]).get("filename")!;
    const sheet = shown.sheet ?? whole.sheet!;
    return name === "12.jpg" && !route.includes("thumbnail")
      ? sheetUrl(sheet.columns, sheet.tiles)
      : sheetUrl(1, 1 + Number(/\d+/.exec(name)?.[0] ?? 0) * 0);
  }
}

export const api = new Api();

/** Lets the tree grow by a generation. */
export function grow(): void {
  const index = shown.generations.length;
  shown = index < whole.generations.length ? growing(whole, index + 1) : whole;
  const detail = {
    node: "5",
    run: "my taste",
    iteration: shown.iteration,
    step: shown.step,
    index,
    generation: shown.complete ? null : shown.generations[index],
    sheet: shown.sheet,
    complete: shown.complete,
  };
  api.dispatchEvent(new CustomEvent("treegrpo.tree", { detail }));
}
