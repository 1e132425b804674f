import { beforeEach, expect, test } from "vitest";
import { api } from "./comfyui/api";
import { castVote, fileUrl, readRun, readTree } from "../src/server";

beforeEach(() => api.reset());

test("names of runs are put into addresses as they are meant", async () => {
  await readTree("a/b ?#", "live").catch(() => {});
  expect(api.asked[0].route).toBe("/treegrpo/runs/a%2Fb%20%3F%23/trees/live");
  expect(fileUrl({ filename: "a b.jpg", subfolder: "x/y", type: "output" }, 7)).toBe(
    "/api/view?filename=a+b.jpg&subfolder=x%2Fy&type=output&rand=7",
  );
});

test.each([
  ["the server's own sentence", () => new Response('{"error": "No such run."}', { status: 404 }), "No such run.", 404],
  [
    "its status where it has none",
    () => new Response("<h1>Bad gateway</h1>", { status: 502 }),
    "ComfyUI answered with 502.",
    502,
  ],
  [
    "that an answer was cut short",
    () => new Response('{"summary": {', { status: 200 }),
    "ComfyUI's answer was cut short.",
    200,
  ],
])("a problem says %s", async (_, answer, message, status) => {
  api.routes.set("/treegrpo/runs/x", answer);
  await expect(readRun("x")).rejects.toMatchObject({ message, status });
});

test("no answer at all is a problem of its own", async () => {
  api.down = true;
  await expect(castVote("x", { votes: null })).rejects.toMatchObject({
    message: "ComfyUI does not answer.",
    status: 0,
  });
});
