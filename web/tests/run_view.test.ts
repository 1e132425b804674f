import { beforeEach, expect, test } from "vitest";
import { api, settle } from "./comfyui/api";
import { runView, type RunView } from "../src/run_view";
import { grownTree, growing, someRun } from "./trees";

let view: RunView;
const part = (selector: string) => view.element.querySelector<HTMLElement>(selector)!;

beforeEach(() => {
  api.reset();
  document.body.replaceChildren();
  view = runView({ title: "Nothing yet", text: "Press Run." });
  document.body.append(view.element);
});

test("before anything was run it says what will be seen, and no more", async () => {
  expect(part(".blank").hidden).toBe(false);
  view.follower.open("my taste");
  await settle();
  expect(part(".blank").textContent).toContain("Press Run.");
  expect(part(".problem").hidden).toBe(true);
});

test("prompts and iterations can be chosen, whatever is in their names", async () => {
  const prompts = ["<b>one</b>", "two", ""];
  api.routes.set("/treegrpo/runs/my taste", someRun());
  api.routes.set("/treegrpo/runs/my taste/trees/live", grownTree([3, 3, 3], prompts));
  view.follower.open("my taste");
  await settle();
  const [prompt, iteration] = view.element.querySelectorAll("select");
  expect([...prompt.options].map(({ text }) => text)).toEqual(["<b>one</b>", "two", "prompt 3"]);
  expect([...iteration.options].map(({ text }) => text)).toEqual([
    "Latest",
    "Iteration 11",
    "Iteration 6",
    "Iteration 1",
  ]);
  part('[title="Next prompt"]').click();
  expect(prompt.selectedIndex).toBe(1);
  view.choosePrompt(5);
  expect(prompt.selectedIndex).toBe(2);
  expect((part('[title="Next prompt"]') as HTMLButtonElement).disabled).toBe(true);
});

test("a growing tree says how far it is", async () => {
  api.routes.set("/treegrpo/runs/my taste", someRun());
  api.routes.set("/treegrpo/runs/my taste/trees/live", growing(grownTree(), 2));
  view.follower.open("my taste");
  await settle();
  expect(part(".state").textContent).toBe("iteration 13 of 100 \u00b7 growing, step 1 of 10");
  expect(part(".legend").textContent).toContain("no advantages yet");
});

test("a preview that is gone says so", async () => {
  view.follower.open("~one", 0);
  await settle();
  expect(part(".problem").textContent).toContain("is not there");
  expect(part(".blank").hidden).toBe(true);
});

test("when one tree is damaged, the others can be chosen", async () => {
  api.routes.set("/treegrpo/runs/my taste", someRun());
  api.routes.set(
    "/treegrpo/runs/my taste/trees/live",
    () => new Response('{"error": "live.json is damaged."}', { status: 500 }),
  );
  view.follower.open("my taste");
  await settle();
  expect(part(".problem").textContent).toBe("live.json is damaged.");
  expect(part("header").hidden).toBe(false);
  expect(view.element.querySelectorAll("select")[1].options.length).toBe(4);
});
