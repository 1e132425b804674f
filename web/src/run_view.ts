// A run as a person looks at it: its trees, and how the rewards went. Nodes and the runs panel show it.
import { element, iconButton } from "./element";
import { themeOf } from "./colours";
import { curvesView } from "./curves_view";
import { followRun, NOTHING, type Follower, type Known } from "./follow_run";
import { signed, strongest } from "./facts";
import { treeView } from "./tree_view";

export interface RunView {
  element: HTMLElement;
  follower: Follower;
  /** Counted from 0, and over again beyond the last. */
  choosePrompt(prompt: number): void;
  destroy(): void;
}

/** empty: what is said before there is anything to see. */
export function runView(empty: { title: string; text: string }, changed: (known: Known) => void = () => {}): RunView {
  let known: Known = NOTHING;
  let prompt = 0;
  let lost = "";

  const view = treeView((note) => {
    lost = note;
    say();
  });
  const curves = curvesView();
  const follower = followRun((next) => {
    known = next;
    refresh();
    changed(next);
  });

  const promptSelect = element("select", {
    "aria-label": "Prompt",
    onchange: () => choosePrompt(promptSelect.selectedIndex),
  });
  const before = iconButton("\u2039", "Previous prompt", () => choosePrompt(prompt - 1));
  const after = iconButton("\u203a", "Next prompt", () => choosePrompt(prompt + 1));
  const treeSelect = element("select", {
    className: "iteration",
    "aria-label": "Iteration",
    onchange: () => {
      if (known.run) follower.open(known.run, treeSelect.value === "live" ? "live" : Number(treeSelect.value));
    },
  });
  const head = element("header", {}, element("div", { className: "prompts" }, before, promptSelect, after), treeSelect);
  const legend = element("div", { className: "legend", title: "Colour of an edge: what came of this decision" });
  const [low, high] = [element("span"), element("span")];
  const scale = element("i");
  const word = element("em", {}, "advantage");
  legend.append(low, scale, high, word);
  const state = element("span", { className: "state" });
  const foot = element("footer", {}, legend, state, iconButton("\u2922", "Show the whole tree (0)", view.fit));
  const note = element("p", { className: "problem", role: "alert", hidden: true });
  const blank = element(
    "div",
    { className: "blank" },
    blankTree(),
    element("strong", {}, empty.title),
    element("span", {}, empty.text),
  );
  const trees = element("div", { className: "tree" }, head, note, view.element, blank, foot);
  const host = element("div", { className: "treegrpo run" }, trees, curves.element);

  function choosePrompt(wanted: number): void {
    prompt = wanted;
    refresh();
  }

  function refresh(): void {
    const { tree, facts, at } = known;
    if (tree?.prompts.length) prompt %= tree.prompts.length;
    foot.hidden = view.element.hidden = !tree;
    fill(promptSelect, tree?.prompts.map((text, i) => [String(i), text || `prompt ${i + 1}`]) ?? [], String(prompt));
    before.disabled = prompt === 0;
    after.disabled = !tree || prompt === tree.prompts.length - 1;
    const kept = facts?.trees ?? [];
    const live = facts === null || facts.live || at === "live";
    fill(
      treeSelect,
      [
        ...(live ? [["live", "Latest"] as const] : []),
        ...[...kept].reverse().map((n) => [String(n), `Iteration ${n + 1}`] as const),
      ],
      String(at),
    );
    treeSelect.hidden = kept.length === 0;
    head.hidden = !tree && !kept.length;
    if (tree) {
      const most = strongest(tree, prompt);
      const coloured = tree.generations.some(({ advantage }) => advantage.length > 0);
      [low.textContent, high.textContent] = coloured ? [signed(-most), signed(most)] : ["", ""];
      word.textContent = coloured ? "advantage" : "no advantages yet";
      const { advantage } = themeOf(host);
      scale.style.backgroundImage = `linear-gradient(to right, ${[-1, -0.5, 0, 0.5, 1].map(advantage).join()})`;
      state.textContent = stateOf(known);
    }
    view.show(tree, prompt);
    curves.show(facts?.curves ?? null);
    say();
  }

  /** What is missing; without any run yet that is nothing to worry about. */
  function say(): void {
    const problem = known.unborn ? null : known.problem || lost;
    note.hidden = !problem;
    note.textContent = problem ?? "";
    blank.hidden = known.tree !== null || !note.hidden;
  }

  refresh();
  return {
    element: host,
    follower,
    choosePrompt,
    destroy() {
      view.destroy();
      curves.destroy();
    },
  };
}

function stateOf({ tree, facts, at }: Known): string {
  if (!tree) return "";
  const of = facts && facts.summary.iterations ? ` of ${facts.summary.iterations}` : "";
  const iteration = facts ? `iteration ${tree.iteration + 1}${of}` : ""; // people count from 1
  if (tree.complete || at !== "live") return iteration;
  const steps = tree.sigmas.length - 1;
  const doing = tree.step < steps ? `growing, step ${tree.step} of ${steps}` : "scoring";
  return [iteration, doing].filter(Boolean).join(" \u00b7 ");
}

/** Options are only touched when they differ, so that an open list stays open while the tree grows. */
function fill(select: HTMLSelectElement, options: (readonly [value: string, text: string])[], value: string): void {
  const there = [...select.options].map((option) => [option.value, option.text]);
  if (JSON.stringify(there) !== JSON.stringify(options))
    select.replaceChildren(...options.map(([value, text]) => element("option", { value, text })));
  select.value = value;
}

/** The shape of what will be seen. */
function blankTree(): SVGElement {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 120 60");
  svg.setAttribute("aria-hidden", "true");
  const draw = (name: string, settings: Record<string, string | number>) => {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(settings)) made.setAttribute(key, String(value));
    svg.append(made);
  };
  for (let i = 0; i < 3; i++) {
    const y = 10 + 20 * i;
    draw("path", { d: `M8 30 C30 30 36 ${y} 58 ${y}` });
    for (let j = -1; j < 2; j++) draw("path", { d: `M58 ${y} C80 ${y} 86 ${y + 6 * j} 108 ${y + 6 * j}` });
    draw("circle", { cx: 58, cy: y, r: 3 });
  }
  draw("circle", { cx: 8, cy: 30, r: 5 });
  return svg;
}
