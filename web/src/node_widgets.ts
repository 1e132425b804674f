// The trees inside the nodes Train and Preview Tree.
import { api } from "comfyui/api";
import type { GraphNode } from "comfyui/app";
import { runView, type RunView } from "./run_view";
import type { ShownTree, TreeNews } from "./schema";

const PREVIEW = {
  title: "No tree yet",
  text: "Press Run: noise stands on the left, finished pictures on the right, and every edge has the colour of its advantage.",
};
const TRAIN = {
  title: "Nothing has grown yet",
  text: "Press Run: the tree of every iteration grows here, and below it you see what the rewards do.",
};

/** What the classic canvas leaves free around the widget. */
const MARGIN = 10;

export function addTreeWidget(node: GraphNode): void {
  if (node.comfyClass === "TreeGRPO_Train") trainWidget(node);
  if (node.comfyClass === "TreeGRPO_PreviewTree") previewWidget(node);
}

function trainWidget(node: GraphNode): void {
  const view = runView(TRAIN);
  add(node, view, 480, [520, 1080]);
  const name = node.widgets?.find(({ name }) => name === "run");
  const open = () => {
    if (typeof name?.value === "string" && name.value) view.follower.open(name.value);
  };
  listen(node, view, (news) => {
    if (news.node === String(node.id)) view.follower.open(news.run);
  });
  if (name) name.callback = after(name.callback, open);
  node.onConfigure = after(node.onConfigure, open);
  open();
}

function previewWidget(node: GraphNode): void {
  const view = runView(PREVIEW);
  const prompt = node.widgets?.find(({ name }) => name === "prompt");
  add(node, view, 360, [640, 640]);
  listen(node, view, () => {});
  const open = () => {
    const shown = node.properties.treegrpo as ShownTree | undefined;
    if (shown?.run) view.follower.open(shown.run, shown.tree);
  };
  node.onExecuted = after(node.onExecuted, (output: { treegrpo?: ShownTree[] }) => {
    const shown = output.treegrpo?.[0];
    if (!shown) return;
    // Only which tree it is, so that the workflow stays small.
    node.properties.treegrpo = { run: shown.run, tree: shown.tree };
    view.follower.refresh();
    open();
    view.choosePrompt(Number(prompt?.value ?? 0));
  });
  node.onConfigure = after(node.onConfigure, open);
}

function add(node: GraphNode, view: RunView, height: number, size: [number, number]): void {
  view.element.style.minHeight = `${height}px`; // Nodes 2.0 goes by this, the classic canvas by getMinHeight
  const widget = node.addDOMWidget("tree", "treegrpo_tree", view.element, {
    serialize: false,
    hideOnZoom: false,
    margin: MARGIN,
    getMinHeight: () => height + 2 * MARGIN,
    getValue: () => "",
    setValue: () => {},
  });
  widget.serialize = false;
  // The node's pictures are for those who have no widget; here they would stand below it a second time.
  node.hideOutputImages = true;
  node.onDrawBackground = () => {};
  // A saved size is laid on top of this one later.
  node.setSize([Math.max(node.size[0], size[0]), Math.max(node.size[1], size[1])]);
}

/** News come until the node is removed. */
function listen(node: GraphNode, view: RunView, first: (news: TreeNews) => void): void {
  const tree = (event: Event) => {
    const news = (event as CustomEvent<TreeNews>).detail;
    first(news);
    view.follower.news(news);
  };
  const reconnected = () => view.follower.refresh();
  api.addEventListener("treegrpo.tree", tree);
  api.addEventListener("reconnected", reconnected);
  node.onRemoved = after(node.onRemoved, () => {
    api.removeEventListener("treegrpo.tree", tree);
    api.removeEventListener("reconnected", reconnected);
    view.destroy();
  });
}

/** A callback that was there is called first. */
function after<A extends unknown[]>(old: ((...given: A) => void) | undefined, more: (...given: A) => void) {
  return function (this: unknown, ...given: A): void {
    old?.apply(this, given);
    more(...given);
  };
}
