// One frame of the tree. What is too small to be seen is drawn together, or not at all.
import { drawAxis, drawWindow } from "./draw_axis";
import { drawEdges, drawStems } from "./draw_edges";
import { drawNodes } from "./draw_nodes";
import { drawNoise } from "./draw_noise";
import type { Scene } from "./scene";

export function drawTree(context: CanvasRenderingContext2D, scene: Scene): void {
  const { width, height, tree } = scene;
  context.clearRect(0, 0, width, height);
  drawWindow(context, scene);
  drawStems(context, scene);
  for (let generation = 1; generation < tree.generations.length; generation++) drawEdges(context, scene, generation);
  drawNoise(context, scene);
  for (let generation = 0; generation < tree.generations.length; generation++) drawNodes(context, scene, generation);
  drawAxis(context, scene);
}
