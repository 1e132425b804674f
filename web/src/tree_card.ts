// The picture that was picked, large, with the way to it; or two leaves beside each other.
import { element, iconButton } from "./element";
import { factsOf, nameOf, signed } from "./facts";
import { pathTo, type Place } from "./layout";
import type { Scene } from "./scene";
import type { Tree } from "./schema";
import { tile } from "./tile";
import { factList } from "./tree_tip";

interface Choices {
  close(): void;
  compare(): void;
  choose(place: Place): void;
}

export function treeCard({ close, compare, choose }: Choices) {
  const card = element("section", { className: "card", hidden: true, "aria-label": "Picture" });
  card.addEventListener("wheel", (event) => event.stopPropagation());

  return {
    element: card,
    hide(): void {
      card.hidden = true;
    },
    /** scene.marked: one place, or two leaves. */
    show(scene: Scene, waiting: boolean): void {
      const places = scene.marked;
      card.hidden = places.length === 0;
      if (card.hidden) return;
      const { tree, prompt } = scene;
      const last = places[places.length - 1];
      // A leaf stands on the right, so that the card does not hide what it is about.
      card.classList.toggle("left", last.generation > 0 && scene.layout.x[last.generation] > scene.width / 2);
      const leaf = factsOf(tree, prompt, places[0]).leaf;
      const side = Math.min(
        places.length > 1 ? 190 : 260,
        scene.width * (places.length > 1 ? 0.36 : 0.42),
        scene.height * 0.42,
      );
      const figures = places.map((place) =>
        element(
          "figure",
          {},
          tile(scene, place, Math.round(side)),
          element(
            "figcaption",
            {},
            element("strong", {}, nameOf(tree, place)),
            factList(tree, prompt, place, places.length > 1),
          ),
        ),
      );
      const head = element("header", {});
      if (leaf && places.length === 1)
        head.append(
          waiting
            ? element("span", { className: "hint" }, "Now click another leaf.")
            : element(
                "button",
                { type: "button", title: "Or click another leaf with Shift", onclick: compare },
                "Compare",
              ),
        );
      head.append(iconButton("\u00d7", "Close", close));
      card.replaceChildren(
        head,
        element("div", { className: "figures" }, ...figures),
        places.length > 1 ? difference(tree, prompt, places[0], places[1]) : way(scene, places[0]),
      );
    },
  };

  /** From the root to the picture; each can be clicked. */
  function way(scene: Scene, place: Place): HTMLElement {
    const counts = scene.tree.generations.map(({ count }) => count);
    const stops = pathTo(counts, place).map((stop) =>
      element(
        "button",
        {
          type: "button",
          className: "stop",
          title: nameOf(scene.tree, stop),
          "aria-current": stop.generation === place.generation ? "true" : null,
          onclick: () => choose(stop),
        },
        tile(scene, stop, 44),
      ),
    );
    return element("nav", { className: "way", "aria-label": "From noise to this picture" }, ...stops);
  }
}

/** What the second leaf has over the first. */
function difference(tree: Tree, prompt: number, a: Place, b: Place): HTMLElement {
  const [first, second] = [factsOf(tree, prompt, a), factsOf(tree, prompt, b)];
  const lines = first.rewards.map(([name, value], i): [string, string] => {
    const other = second.rewards[i][1];
    return [name, value === null || other === null ? "\u2013" : signed(other - value, 3)];
  });
  if (first.advantage !== null && second.advantage !== null)
    lines.push(["advantage", signed(second.advantage - first.advantage)]);
  return element(
    "div",
    { className: "difference" },
    element("strong", {}, `Leaf ${b.index + 1} against leaf ${a.index + 1}`),
    element("dl", {}, ...lines.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)])),
  );
}
