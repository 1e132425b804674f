import { afterEach, beforeEach, expect, test, vi } from "vitest";
import type { GraphNode, Widget } from "comfyui/app";
import { api, settle } from "./comfyui/api";
import { addTreeWidget } from "../src/node_widgets";
import { grownTree, growing, someRun } from "./trees";

let added: { element: HTMLElement; options: Record<string, unknown>; widget: Widget };

let nodes: GraphNode[] = [];

function node(comfyClass: string): GraphNode {
  const made: GraphNode = {
    id: 5,
    comfyClass,
    size: [200, 100],
    properties: {},
    widgets: [
      { name: "run", value: "my taste" },
      { name: "prompt", value: 1 },
    ],
    setSize: vi.fn(),
    addDOMWidget(name, _type, element, options) {
      const widget: Widget = { name, value: "" };
      added = { element, options: options as Record<string, unknown>, widget };
      document.body.append(element);
      return widget;
    },
  };
  nodes.push(made);
  return made;
}

afterEach(() => {
  for (const one of nodes) one.onRemoved?.();
  nodes = [];
});

const state = () => added.element.querySelector(".state")!.textContent;

beforeEach(() => {
  document.body.replaceChildren();
  api.reset();
  for (const run of ["my taste", "other"]) {
    api.routes.set(`/treegrpo/runs/${run}`, someRun(run));
    api.routes.set(`/treegrpo/runs/${run}/trees/live`, grownTree());
  }
  api.routes.set("/treegrpo/runs/~one/trees/0", grownTree());
});

test("the tree is in no workflow and in no prompt", () => {
  addTreeWidget(node("TreeGRPO_Train"));
  expect(added.widget.serialize).toBe(false);
  expect(added.options.serialize).toBe(false);
});

test("other nodes stay as they are", () => {
  const other = node("KSampler");
  other.addDOMWidget = vi.fn();
  addTreeWidget(other);
  expect(other.addDOMWidget).not.toHaveBeenCalled();
});

test("Train shows the run of its name, follows what it trains, and forgets it when removed", async () => {
  const train = node("TreeGRPO_Train");
  addTreeWidget(train);
  await settle();
  expect(state()).toBe("iteration 13 of 100");
  const news = {
    node: "5",
    run: "other",
    iteration: 13,
    step: 0,
    index: 0,
    generation: null,
    sheet: null,
    complete: false,
  };
  api.routes.set("/treegrpo/runs/other/trees/live", { ...growing(grownTree(), 1), iteration: 13 });
  api.tell("treegrpo.tree", { ...news, node: "7" });
  await settle();
  expect(state()).toContain("iteration 13");
  api.tell("treegrpo.tree", news);
  await settle();
  expect(state()).toContain("iteration 14");
  const before = api.asked.length;
  train.onRemoved!();
  api.tell("treegrpo.tree", { ...news, iteration: 14 });
  api.tell("reconnected");
  await settle();
  expect(api.asked.length).toBe(before);
});

test("Train turns to the run whose name is typed in", async () => {
  const train = node("TreeGRPO_Train");
  addTreeWidget(train);
  await settle();
  train.widgets![0].value = "other";
  train.widgets![0].callback!("other");
  await settle();
  expect(api.times("/treegrpo/runs/other/trees/live")).toBe(1);
});

test("Preview Tree shows what it was given, at the prompt it asks for, and finds it again after a reload", async () => {
  const preview = node("TreeGRPO_PreviewTree");
  addTreeWidget(preview);
  expect(preview.hideOutputImages).toBe(true);
  preview.onExecuted!({ treegrpo: [{ run: "~one", tree: 0 }] });
  await settle();
  expect(added.element.querySelector("select")!.selectedIndex).toBe(1);
  expect(preview.properties.treegrpo).toEqual({ run: "~one", tree: 0 });

  const reloaded = node("TreeGRPO_PreviewTree");
  addTreeWidget(reloaded);
  reloaded.properties = JSON.parse(JSON.stringify(preview.properties));
  reloaded.onConfigure!({});
  await settle();
  expect(added.element.querySelector<HTMLElement>(".blank")!.hidden).toBe(true);
});

test("after the connection was lost, everything is asked for again", async () => {
  addTreeWidget(node("TreeGRPO_Train"));
  await settle();
  api.routes.set("/treegrpo/runs/my taste/trees/live", { ...grownTree(), iteration: 20 });
  api.tell("reconnected");
  await settle();
  expect(state()).toContain("iteration 21");
});
