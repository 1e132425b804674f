// Made from ../schema.json by `npm run build`; do not edit.

/**
 * This interface was referenced by `TreeGRPO`'s JSON-Schema
 * via the `definition` "Numbers".
 */
export type Numbers = (number | null)[];
/**
 * What part of the root's value flows through the edge; siblings add up to the share above them.
 */
export type Numbers1 = (number | null)[];
/**
 * The rewards that train, mixed, on held-out prompts.
 */
export type Numbers2 = (number | null)[];

/**
 * What the routes under /treegrpo answer and take, and what the server tells the browser.
 */
export interface TreeGRPO {
  [k: string]: unknown;
}
/**
 * A file for ComfyUI's own /view.
 *
 * This interface was referenced by `TreeGRPO`'s JSON-Schema
 * via the `definition` "Picture".
 */
export interface Picture {
  filename: string;
  subfolder: string;
  type: "output" | "temp";
}
/**
 * One picture of equal tiles, row by row. version changes whenever the file does.
 *
 * This interface was referenced by `TreeGRPO`'s JSON-Schema
 * via the `definition` "Sheet".
 */
export interface Sheet {
  picture: Picture;
  version: number;
  /**
   * Of a tile, in pixels; pictures need not be square.
   */
  width: number;
  /**
   * Of a tile, in pixels.
   */
  height: number;
  columns: number;
  /**
   * How many tiles are filled.
   */
  tiles: number;
}
/**
 * The nodes of all prompts on one level. Node i of a generation is a child of node floor(i * count of the one before / count). Lists have one entry per node, by prompt and then by birth, or none while they are not known. log_prob, advantage and share belong to the edge into the node; roots have none.
 *
 * This interface was referenced by `TreeGRPO`'s JSON-Schema
 * via the `definition` "Generation".
 */
export interface Generation {
  /**
   * The level: how many steps of denoising lie behind.
   */
  step: number;
  /**
   * Nodes of one prompt.
   */
  count: number;
  log_prob: Numbers;
  advantage: Numbers;
  share: Numbers1;
}
/**
 * The trees of one iteration. Tiles of the sheet are in the order of the nodes: by generation, prompt and birth. While it grows, generations are added and rewards and leaf_advantage are empty.
 *
 * This interface was referenced by `TreeGRPO`'s JSON-Schema
 * via the `definition` "Tree".
 */
export interface Tree {
  iteration: number;
  /**
   * Steps of denoising that are done.
   */
  step: number;
  /**
   * Grown, scored and backed up.
   */
  complete: boolean;
  prompts: string[];
  /**
   * One more than there are steps; the last is 0.
   */
  sigmas: number[];
  branch: number[];
  roots: number;
  /**
   * The stochastic steps.
   */
  window: number[];
  generations: Generation[];
  /**
   * Of the leaves, by name of the reward; null where a judge had no opinion.
   */
  rewards: {
    [k: string]: Numbers;
  };
  leaf_advantage: Numbers;
  sheet: Sheet | null;
}
/**
 * A number per reward.
 *
 * This interface was referenced by `TreeGRPO`'s JSON-Schema
 * via the `definition` "Means".
 */
export interface Means {
  [k: string]: number | null;
}
/**
 * This interface was referenced by `TreeGRPO`'s JSON-Schema
 * via the `definition` "RunSummary".
 */
export interface RunSummary {
  run: string;
  model: string;
  method: string;
  /**
   * Iterations that are saved.
   */
  done: number;
  /**
   * Iterations that the run was asked for.
   */
  iterations: number;
  before: Means1;
  after: Means2;
  running: boolean;
  /**
   * Its workflow was kept.
   */
  resumable: boolean;
  /**
   * Seconds since 1970.
   */
  changed: number;
  thumbnail: Picture | null;
  /**
   * What is wrong with the folder, if anything is.
   */
  problem: string | null;
}
/**
 * Mean rewards of the first iteration.
 */
export interface Means1 {
  [k: string]: number | null;
}
/**
 * Mean rewards of the last iteration.
 */
export interface Means2 {
  [k: string]: number | null;
}
/**
 * GET /treegrpo/runs, latest first.
 *
 * This interface was referenced by `TreeGRPO`'s JSON-Schema
 * via the `definition` "Runs".
 */
export interface Runs {
  runs: RunSummary[];
}
/**
 * Lists with one entry per iteration in `iteration`; long runs are thinned out.
 *
 * This interface was referenced by `TreeGRPO`'s JSON-Schema
 * via the `definition` "Curves".
 */
export interface Curves {
  iteration: number[];
  reward: {
    [k: string]: Numbers;
  };
  spread: {
    [k: string]: Numbers;
  };
  heldout: Numbers2;
  /**
   * Of the rewards that are only watched, on held-out prompts, by name.
   */
  watched: {
    [k: string]: Numbers;
  };
}
/**
 * This interface was referenced by `TreeGRPO`'s JSON-Schema
 * via the `definition` "File".
 */
export interface File {
  picture: Picture;
  bytes: number;
}
/**
 * GET /treegrpo/runs/{run}.
 *
 * This interface was referenced by `TreeGRPO`'s JSON-Schema
 * via the `definition` "Run".
 */
export interface Run {
  summary: RunSummary;
  curves: Curves;
  /**
   * Iterations whose tree is kept, in order.
   */
  trees: number[];
  /**
   * Whether there is a tree of the iteration that ran last: trees/live.
   */
  live: boolean;
  /**
   * Where the run lies, seen from ComfyUI's folder.
   */
  folder: string;
  files: File[];
}
/**
 * The leaves of one prompt, waiting for a person.
 *
 * This interface was referenced by `TreeGRPO`'s JSON-Schema
 * via the `definition` "Ballot".
 */
export interface Ballot {
  id: string;
  prompt: string;
  how: "stars" | "thumbs" | "rank";
  /**
   * @minItems 1
   */
  pictures: [Picture, ...Picture[]];
  /**
   * Which ballot of this round it is, from 1.
   */
  place: number;
  /**
   * Ballots in this round.
   */
  of: number;
  /**
   * Seconds since 1970, when it counts as skipped.
   */
  deadline: number | null;
}
/**
 * GET /treegrpo/ballots: those that are open, in the order in which they are to be filled in.
 *
 * This interface was referenced by `TreeGRPO`'s JSON-Schema
 * via the `definition` "Ballots".
 */
export interface Ballots {
  ballots: Ballot[];
}
/**
 * POST /treegrpo/ballots/{id}. One vote per picture, null for none; stars: 1 to 5; thumbs: -1 or 1; rank: 1 for the best, each place once. null instead of the list skips the prompt.
 *
 * This interface was referenced by `TreeGRPO`'s JSON-Schema
 * via the `definition` "Vote".
 */
export interface Vote {
  votes: (number | null)[] | null;
}
/**
 * Every answer that is not 200.
 *
 * This interface was referenced by `TreeGRPO`'s JSON-Schema
 * via the `definition` "Problem".
 */
export interface Problem {
  error: string;
}
/**
 * Event treegrpo.tree: what is new about trees/live of a run. generation and sheet are null where nothing is new; index is the place of the generation. complete: rewards and advantages are there to be fetched.
 *
 * This interface was referenced by `TreeGRPO`'s JSON-Schema
 * via the `definition` "TreeNews".
 */
export interface TreeNews {
  /**
   * The node that trains.
   */
  node: string;
  run: string;
  iteration: number;
  step: number;
  index: number;
  generation: Generation | null;
  sheet: Sheet | null;
  complete: boolean;
}
/**
 * Event treegrpo.ballots: how many are open now.
 *
 * This interface was referenced by `TreeGRPO`'s JSON-Schema
 * via the `definition` "BallotNews".
 */
export interface BallotNews {
  open: number;
}
/**
 * What a node's output names under "treegrpo": the run (or a preview, whose id starts with ~) and the tree to show.
 *
 * This interface was referenced by `TreeGRPO`'s JSON-Schema
 * via the `definition` "ShownTree".
 */
export interface ShownTree {
  run: string;
  tree: number | "live";
}
