// What is known of one run and of the tree of it that is looked at, kept up to date by events. Whatever was missed is
// fetched again, one fetch at a time.
import { withNews } from "./news";
import type { Run, Tree, TreeNews } from "./schema";
import { Problem, readRun, readTree } from "./server";

export interface Known {
  run: string | null;
  at: number | "live";
  tree: Tree | null;
  /** null for previews and for what could not be read. */
  facts: Run | null;
  problem: string | null;
  /** There is no such run, and as far as one knows there never was: nothing is amiss. */
  unborn: boolean;
}

export const NOTHING: Known = { run: null, at: "live", tree: null, facts: null, problem: null, unborn: false };

export interface Follower {
  open(run: string, at?: number | "live"): void;
  news(news: TreeNews): void;
  refresh(): void;
}

export function followRun(changed: (known: Known) => void): Follower {
  let known = NOTHING;
  let fetching = false;
  let again = false;
  let seen = false;

  function set(change: Partial<Known>): void {
    known = { ...known, ...change };
    changed(known);
  }

  async function refresh(): Promise<void> {
    const { run, at } = known;
    if (run === null) return;
    if (fetching) {
      again = true;
      return;
    }
    fetching = true;
    again = false;
    const facts = run.startsWith("~") ? null : await settled(readRun(run));
    const open = at !== "live" || !facts?.value || facts.value.live;
    const tree = open && !(facts?.problem?.status === 404) ? await settled(readTree(run, at)) : null;
    fetching = false;
    if (run !== known.run || at !== known.at) return void refresh();
    const problems = [facts?.problem, tree?.problem].filter((problem) => problem !== undefined);
    const gone = problems.some(({ status }) => status === 404);
    seen ||= run.startsWith("~") || [facts, tree].some((answer) => answer?.value);
    set({
      facts: facts ? (facts.value ?? (gone ? null : known.facts)) : null,
      // Without an answer, what is there stays.
      tree: tree?.value ?? (problems.some(({ status }) => status === 0) ? known.tree : null),
      problem: problems[0]?.message ?? null,
      unborn: gone && !seen,
    });
    if (again) void refresh();
  }

  return {
    open(run, at = "live") {
      if (run === known.run && at === known.at) return;
      const other = run !== known.run;
      if (other) seen = false;
      set({ run, at, tree: null, problem: null, unborn: false, ...(other ? { facts: null } : {}) });
      void refresh();
    },
    news(news) {
      if (news.run !== known.run) return;
      if (known.at !== "live") {
        if (news.complete) void refresh();
        return;
      }
      const tree = fetching ? null : withNews(known.tree, news);
      if (tree) set({ tree });
      else void refresh();
    },
    refresh: () => void refresh(),
  };
}

async function settled<T>(asked: Promise<T>): Promise<{ value?: T; problem?: Problem }> {
  try {
    return { value: await asked };
  } catch (error) {
    return { problem: error instanceof Problem ? error : new Problem(String(error), 0) };
  }
}
