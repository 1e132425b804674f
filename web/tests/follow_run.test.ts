import { beforeEach, describe, expect, test } from "vitest";
import { api, settle } from "./comfyui/api";
import { followRun, type Follower, type Known } from "../src/follow_run";
import { withNews } from "../src/news";
import type { Tree, TreeNews } from "../src/schema";
import { grownTree, growing, someRun } from "./trees";

const whole = grownTree();
const LIVE = "/treegrpo/runs/my taste/trees/live";
const RUN = "/treegrpo/runs/my taste";

function newsOf(tree: Tree, more: Partial<TreeNews> = {}): TreeNews {
  const index = tree.generations.length - 1;
  return {
    node: "5",
    run: "my taste",
    iteration: tree.iteration,
    step: tree.step,
    index,
    generation: tree.generations[index],
    sheet: tree.sheet,
    complete: false,
    ...more,
  };
}

describe("news", () => {
  test("of the next generation is added, with its sheet and step", () => {
    expect(withNews(growing(whole, 1), newsOf(growing(whole, 2)))).toEqual(growing(whole, 2));
  });

  test("that is told twice changes nothing", () => {
    expect(withNews(growing(whole, 2), newsOf(growing(whole, 2)))).toEqual(growing(whole, 2));
  });

  test("of a step without a new generation only counts the step", () => {
    const tree = withNews(
      growing(whole, 3),
      newsOf(growing(whole, 3), { generation: null, sheet: null, step: 7, index: 3 }),
    );
    expect(tree).toEqual({ ...growing(whole, 3), step: 7 });
  });

  test.each([
    ["a generation was missed", newsOf(growing(whole, 3))],
    ["another iteration has begun", newsOf(growing(whole, 2), { iteration: 13 })],
    ["it is complete", newsOf(growing(whole, 2), { complete: true })],
  ])("asks for the whole tree when %s", (_, news) => {
    expect(withNews(growing(whole, 1), news)).toBeNull();
    expect(withNews(null, news)).toBeNull();
  });
});

describe("a run that is followed", () => {
  let known: Known;
  let follower: Follower;

  beforeEach(async () => {
    api.reset();
    api.routes.set(RUN, someRun());
    api.routes.set(LIVE, growing(whole, 1));
    follower = followRun((next) => (known = next));
    follower.open("my taste");
    await settle();
  });

  test("is fetched when it is opened, once", async () => {
    expect(known.tree).toEqual(growing(whole, 1));
    expect(known.facts).toEqual(someRun());
    follower.open("my taste");
    await settle();
    expect(api.times(LIVE)).toBe(1);
  });

  test("grows by news, and is fetched when it is complete", async () => {
    follower.news(newsOf(growing(whole, 2)));
    expect(known.tree).toEqual(growing(whole, 2));
    expect(api.times(LIVE)).toBe(1);
    api.routes.set(LIVE, whole);
    follower.news(newsOf(growing(whole, 4), { complete: true, generation: null, sheet: null, index: 4 }));
    await settle();
    expect(known.tree).toEqual(whole);
  });

  test("takes no news of other runs", async () => {
    follower.news(newsOf(growing(whole, 2), { run: "another" }));
    await settle();
    expect(known.tree).toEqual(growing(whole, 1));
    expect(api.times(LIVE)).toBe(1);
  });

  test("asks once more, and not more often, for what came while it was asking", async () => {
    follower.refresh();
    for (let i = 0; i < 5; i++) follower.news(newsOf(growing(whole, 2)));
    await settle();
    expect(api.times(LIVE)).toBe(3);
  });

  test("keeps what it has while ComfyUI is away, and says so", async () => {
    api.down = true;
    follower.refresh();
    await settle();
    expect(known.problem).toBe("ComfyUI does not answer.");
    expect(known.tree).toEqual(growing(whole, 1));
    expect(known.facts).toEqual(someRun());
    api.down = false;
    api.routes.set(LIVE, whole);
    follower.refresh();
    await settle();
    expect(known.problem).toBeNull();
    expect(known.tree).toEqual(whole);
  });

  test("that is deleted is missed, however often one asks", async () => {
    api.reset();
    for (let i = 0; i < 2; i++) {
      follower.refresh();
      await settle();
      expect(known.unborn).toBe(false);
      expect(known.tree).toBeNull();
      expect(known.problem).toContain("is not there");
    }
  });

  test("that never was is not missed; a preview, which somebody must have seen, is", async () => {
    follower.open("new");
    await settle();
    expect(known.unborn).toBe(true);
    follower.open("~gone", 0);
    await settle();
    expect(known.unborn).toBe(false);
    expect(known.problem).toContain("is not there");
  });

  test("a damaged tree says so, and the others can still be seen", async () => {
    api.routes.set(
      "/treegrpo/runs/my taste/trees/5",
      () => new Response('{"error": "5.json is damaged."}', { status: 500 }),
    );
    follower.open("my taste", 5);
    await settle();
    expect(known.problem).toBe("5.json is damaged.");
    expect(known.facts?.trees).toEqual([0, 5, 10]);
    follower.open("my taste", "live");
    await settle();
    expect(known.tree).toEqual(growing(whole, 1));
    expect(known.problem).toBeNull();
  });

  test("an answer that comes too late is not shown", async () => {
    api.routes.set("/treegrpo/runs/other", someRun("other"));
    api.routes.set("/treegrpo/runs/other/trees/live", { ...whole, iteration: 99 });
    follower.refresh();
    follower.open("other");
    await settle();
    expect(known.run).toBe("other");
    expect(known.tree?.iteration).toBe(99);
  });

  test("a kept iteration stays while the run goes on", async () => {
    api.routes.set("/treegrpo/runs/my taste/trees/10", { ...whole, iteration: 10 });
    follower.open("my taste", 10);
    await settle();
    follower.news(newsOf(growing(whole, 2)));
    await settle();
    expect(known.tree?.iteration).toBe(10);
  });

  test("of a preview only the tree is asked for", async () => {
    api.routes.set("/treegrpo/runs/~one/trees/0", whole);
    follower.open("~one", 0);
    await settle();
    expect(known.tree).toEqual(whole);
    expect(api.times("/treegrpo/runs/~one")).toBe(0);
  });
});
