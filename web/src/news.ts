// What an event says about a tree that grows.
import type { Tree, TreeNews } from "./schema";

/** The tree with the news in it, or null where it has to be fetched: something was missed, or there is more to it. */
export function withNews(tree: Tree | null, news: TreeNews): Tree | null {
  if (!tree || tree.iteration !== news.iteration || tree.complete || news.complete) return null;
  const generations = [...tree.generations];
  if (news.generation) {
    if (news.index > generations.length) return null;
    generations[news.index] = news.generation;
  }
  return { ...tree, generations, step: Math.max(tree.step, news.step), sheet: news.sheet ?? tree.sheet };
}
