// One picture of a tree as an element.
import { drawPicture } from "./draw_picture";
import { element } from "./element";
import { nameOf } from "./facts";
import type { Place } from "./layout";
import type { Scene } from "./scene";

export type Pictured = Pick<Scene, "tree" | "prompt" | "sheet" | "theme">;

/** At most `side` pixels wide and high. */
export function tile(scene: Pictured, place: Place, side: number): HTMLCanvasElement {
  const shape = scene.tree.sheet ? scene.tree.sheet.height / scene.tree.sheet.width : 1;
  const width = Math.round(shape > 1 ? side / shape : side);
  const height = Math.round(shape > 1 ? side : side * shape);
  const sharp = 2;
  const canvas = element("canvas", {
    className: "tile",
    width: width * sharp,
    height: height * sharp,
    role: "img",
    "aria-label": nameOf(scene.tree, place),
  });
  canvas.style.aspectRatio = `${width} / ${height}`;
  canvas.style.width = `${width}px`;
  const context = canvas.getContext("2d");
  if (context) {
    context.imageSmoothingQuality = "high";
    context.scale(sharp, sharp);
    drawPicture(context, { ...scene, path: [], marked: [] }, place, width / 2, height / 2, width, height);
  }
  return canvas;
}
