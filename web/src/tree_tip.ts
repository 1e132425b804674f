// What is said about the node under the pointer.
import { element } from "./element";
import { factsOf, nameOf, plain, signed } from "./facts";
import type { Place } from "./layout";
import type { Scene } from "./scene";
import type { Tree } from "./schema";
import { tile } from "./tile";

export function treeTip() {
  const tip = element("div", { className: "tip", hidden: true, "aria-hidden": "true" });
  let shown = "";

  return {
    element: tip,
    show(scene: Scene, place: Place, [x, y]: [number, number]): void {
      const key = `${scene.tree.iteration} ${scene.prompt} ${place.generation} ${place.index} ${scene.sheet !== null}`;
      if (key !== shown || tip.hidden)
        tip.replaceChildren(
          tile(scene, place, 112),
          element(
            "div",
            {},
            element("strong", {}, nameOf(scene.tree, place)),
            factList(scene.tree, scene.prompt, place),
          ),
        );
      shown = key;
      tip.hidden = false;
      const { offsetWidth: width, offsetHeight: height } = tip;
      const left = x + 18 + width < scene.width ? x + 18 : x - 18 - width;
      tip.style.left = `${Math.max(4, Math.min(scene.width - width - 4, left))}px`;
      tip.style.top = `${Math.max(4, Math.min(scene.height - height - 4, y - height / 2))}px`;
    },
    hide(): void {
      tip.hidden = true;
    },
  };
}

/** What is known about a node, as names and values; in brief, what tells two leaves apart. */
export function factList(tree: Tree, prompt: number, place: Place, brief = false): HTMLElement {
  const facts = factsOf(tree, prompt, place);
  const lines: [string, string][] = facts.rewards.map(([name, value]) => [
    name,
    value === null ? "no opinion" : plain(value),
  ]);
  if (facts.advantage !== null) lines.push(["advantage", signed(facts.advantage)]);
  if (facts.logProb !== null && !brief) lines.push(["log-prob", plain(facts.logProb)]);
  if (!brief) lines.push(["step", `${facts.step} of ${tree.sigmas.length - 1}`], ["sigma", facts.sigma.toFixed(2)]);
  return element("dl", {}, ...lines.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]));
}
