import { beforeEach, expect, test } from "vitest";
import { api, settle } from "./comfyui/api";
import type { Ballot } from "../src/schema";
import { votePanel } from "../src/vote_panel";

let open: Ballot[];
let sent: unknown[];

function ballot(id: string, how: Ballot["how"] = "stars", place = 1): Ballot {
  const pictures = [0, 1, 2].map((i) => ({ filename: `${id}-${i}.png`, subfolder: "", type: "temp" as const }));
  return { id, prompt: `prompt ${id}`, how, pictures, place, of: 2, deadline: null };
}

const dialog = () => document.querySelector("dialog")!;
const waiting = () => document.querySelector<HTMLElement>(".waiting")!;
const note = () => dialog().querySelector<HTMLElement>(".problem")!;
const cells = () => [...dialog().querySelectorAll<HTMLElement>(".picture")];
const press = (key: string, more = {}) =>
  (document.activeElement ?? dialog()).dispatchEvent(
    new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true, ...more }),
  );

async function start(...ballots: Ballot[]): Promise<void> {
  open = ballots;
  votePanel();
  await settle();
}

beforeEach(() => {
  document.body.replaceChildren();
  api.reset();
  sent = [];
  api.routes.set("/treegrpo/ballots", () => ({ ballots: open }));
  for (const id of ["a", "b"])
    api.routes.set(`/treegrpo/ballots/${id}`, (options?: RequestInit) => {
      if (!open.some((one) => one.id === id)) return undefined;
      sent.push(JSON.parse(String(options?.body)));
      open = open.filter((one) => one.id !== id);
      return {};
    });
});

test("says nothing while there is nothing to vote on", async () => {
  await start();
  expect(dialog().open).toBe(false);
  expect(waiting().hidden).toBe(true);
});

test("takes stars from the keyboard and goes on to the next prompt", async () => {
  await start(ballot("a"), ballot("b", "stars", 2));
  expect(dialog().open).toBe(true);
  expect(dialog().textContent).toContain("prompt a");
  expect(dialog().textContent).toContain("1 of 2");
  cells()[0].focus();
  press("4");
  press("ArrowRight");
  press("2");
  expect(cells()[1].getAttribute("aria-label")).toBe("Picture 2 of 3, 2 stars");
  press("Enter", { ctrlKey: true });
  await settle();
  expect(sent).toEqual([{ votes: [4, 2, null] }]);
  const post = api.asked.find(({ options }) => options?.method === "POST")!;
  expect(new Headers(post.options!.headers).get("Content-Type")).toBe("application/json");
  expect(dialog().textContent).toContain("prompt b");
  expect(cells()[0].getAttribute("aria-label")).toContain("no vote");
});

test("ranks by clicks, in order of preference", async () => {
  await start(ballot("a", "rank"));
  cells()[2].click();
  cells()[0].click();
  expect(cells().map((cell) => cell.querySelector(".place")!.textContent)).toEqual(["2", "", "1"]);
  dialog().querySelector<HTMLButtonElement>("footer .main")!.click();
  await settle();
  expect(sent).toEqual([{ votes: [2, null, 1] }]);
  expect(dialog().open).toBe(false);
});

test("skips", async () => {
  await start(ballot("a", "thumbs"));
  dialog().querySelector<HTMLButtonElement>("footer button")!.click();
  await settle();
  expect(sent).toEqual([{ votes: null }]);
});

test("nothing is submitted without a vote", async () => {
  await start(ballot("a"));
  expect(dialog().querySelector<HTMLButtonElement>("footer .main")!.disabled).toBe(true);
});

test("closed, a button stays and opens it again, with the votes that were cast", async () => {
  await start(ballot("a"), ballot("b"));
  cells()[0].focus();
  press("3");
  dialog().close();
  await settle();
  expect(waiting().hidden).toBe(false);
  expect(waiting().textContent).toBe("2 prompts wait for your vote");
  api.tell("treegrpo.ballots", { open: 2 });
  await settle();
  expect(dialog().open).toBe(false);
  waiting().querySelector("button")!.click();
  expect(dialog().open).toBe(true);
  expect(cells()[0].getAttribute("aria-label")).toContain("3 stars");
});

test("a prompt that was answered in another tab says so and makes way", async () => {
  await start(ballot("a"), ballot("b", "stars", 2));
  open = [ballot("b", "stars", 2)];
  api.tell("treegrpo.ballots", { open: 1 });
  await settle();
  expect(note().textContent).toContain("answered elsewhere");
  expect(dialog().textContent).toContain("prompt b");
});

test("a vote that comes too late says so and goes on", async () => {
  await start(ballot("a"), ballot("b", "stars", 2));
  open = [ballot("b", "stars", 2)];
  cells()[0].focus();
  press("5");
  press("Enter", { ctrlKey: true });
  await settle();
  expect(note().hidden).toBe(false);
  expect(dialog().textContent).toContain("prompt b");
  expect(sent).toEqual([]);
});

test("when ComfyUI does not answer, the votes stay", async () => {
  await start(ballot("a"));
  cells()[0].focus();
  press("5");
  api.down = true;
  press("Enter", { ctrlKey: true });
  await settle();
  expect(note().textContent).toBe("ComfyUI does not answer.");
  expect(cells()[0].getAttribute("aria-label")).toContain("5 stars");
  api.down = false;
  press("Enter", { ctrlKey: true });
  await settle();
  expect(sent).toEqual([{ votes: [5, null, null] }]);
});

test("a picture that is gone is marked", async () => {
  await start(ballot("a"));
  cells()[1].querySelector("img")!.dispatchEvent(new Event("error"));
  expect(cells()[1].textContent).toContain("This picture is gone.");
  expect(dialog().open).toBe(true);
});

test("keys do not reach ComfyUI, whose Ctrl+Enter runs the workflow", async () => {
  await start(ballot("a"));
  let reached = 0;
  const listener = () => reached++;
  window.addEventListener("keydown", listener);
  cells()[0].focus();
  press("1");
  press("Enter", { ctrlKey: true });
  window.removeEventListener("keydown", listener);
  expect(reached).toBe(0);
});
