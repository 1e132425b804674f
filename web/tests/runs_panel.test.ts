import { afterEach, beforeEach, expect, test } from "vitest";
import { api, settle } from "./comfyui/api";
import { app } from "./comfyui/app";
import { runsPanel, sizeText, type RunsPanel } from "../src/runs_panel";
import { grownTree, someRun, summary } from "./trees";

let panel: RunsPanel;
const items = () => [...panel.element.querySelectorAll<HTMLButtonElement>(".item")];
const button = (text: string) =>
  [...panel.element.querySelectorAll("button")].find(({ textContent }) => textContent === text)!;

beforeEach(async () => {
  document.body.replaceChildren();
  api.reset();
  api.routes.set("/treegrpo/runs", {
    runs: [summary("my taste"), summary("other", { running: true, problem: "config.json is damaged." })],
  });
  api.routes.set("/treegrpo/runs/my taste", someRun());
  api.routes.set("/treegrpo/runs/my taste/trees/live", grownTree());
  api.routes.set("/treegrpo/runs/my taste/workflow", { nodes: [], version: 0.4 });
  panel = runsPanel();
  document.body.append(panel.element);
  await settle();
});

afterEach(() => panel.destroy());

test("lists the runs with what they gained", () => {
  expect(items()[0].textContent).toContain("my taste");
  expect(items()[0].textContent).toContain("0.339 \u2192 0.504");
  expect(items()[0].textContent).toContain("12 of 100");
  expect(items()[1].textContent).toContain("Running");
  expect(items()[1].textContent).toContain("config.json is damaged.");
});

test("a run opens with its files, and closes", async () => {
  items()[0].click();
  await settle();
  const links = [...panel.element.querySelectorAll("a")];
  expect(links[0].textContent).toBe("lora.safetensors");
  expect(links[0].getAttribute("href")).toContain("/api/view?filename=lora.safetensors");
  expect(panel.element.textContent).toContain("output/treegrpo/my taste");
  button("\u2039 Runs").click();
  expect(panel.element.querySelector(".opened")).toBeNull();
});

test("its workflow opens beside the others, and Resume runs it", async () => {
  items()[0].click();
  await settle();
  button("Open workflow").click();
  await settle();
  expect(app.loadGraphData).toHaveBeenLastCalledWith({ nodes: [], version: 0.4 }, true, true, "my taste");
  expect(app.queuePrompt).not.toHaveBeenCalled();
  button("Resume").click();
  await settle();
  expect(app.queuePrompt).toHaveBeenCalledWith(0);
});

test("what goes wrong is said, and what was read stays", async () => {
  api.down = true;
  api.tell("reconnected");
  await settle();
  expect(panel.element.querySelector(".problem")!.textContent).toBe("ComfyUI does not answer.");
  expect(items()).toHaveLength(2);
});

test("reads the runs again when a tree is complete, and no more once it is gone", async () => {
  const before = api.times("/treegrpo/runs");
  api.tell("treegrpo.tree", { complete: false });
  await settle();
  expect(api.times("/treegrpo/runs")).toBe(before);
  api.tell("treegrpo.tree", { complete: true });
  await settle();
  expect(api.times("/treegrpo/runs")).toBe(before + 1);
  panel.destroy();
  api.tell("treegrpo.tree", { complete: true });
  await settle();
  expect(api.times("/treegrpo/runs")).toBe(before + 1);
});

test("sizes are short", () => {
  expect([sizeText(0), sizeText(999), sizeText(1800), sizeText(1_250_000)]).toEqual(["0 B", "999 B", "2 kB", "1.3 MB"]);
});
