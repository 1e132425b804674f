// In place of ComfyUI's app: takes extensions, and shows the nodes that the address asks for.
import type { GraphNode, SidebarTab } from "comfyui/app";

const query = new URLSearchParams(location.search);
export const tabs: SidebarTab[] = [];
export const nodes: GraphNode[] = [];

interface Extension {
  setup?(): void;
  nodeCreated?(node: GraphNode): void;
}

function makeNode(comfyClass: string): { node: GraphNode; box: HTMLElement } {
  const box = document.createElement("div");
  box.className = "node";
  box.style.width = `${query.get("width") ?? 640}px`;
  box.style.height = `${query.get("height") ?? 640}px`;
  const zoom = query.get("zoom");
  if (zoom) Object.assign(box.style, { transform: `scale(${zoom})`, transformOrigin: "0 0" });
  document.body.append(box);
  const node: GraphNode = {
    id: "5",
    comfyClass,
    size: [200, 100],
    properties: {},
    widgets: [{ name: "run", value: query.get("run") ?? "my taste" }],
    addDOMWidget(name, _type, element) {
      box.append(element);
      return { name, value: "" };
    },
    setSize() {},
  };
  return { node, box };
}

export const app = {
  registerExtension(extension: Extension) {
    extension.setup?.();
    const wanted = query.get("node");
    if (wanted) {
      const { node } = makeNode(wanted === "preview" || wanted === "empty" ? "TreeGRPO_PreviewTree" : "TreeGRPO_Train");
      extension.nodeCreated?.(node);
      nodes.push(node);
      if (wanted === "preview") node.onExecuted?.({ treegrpo: [{ run: "~one", tree: "live" }] });
    }
    if (query.get("panel")) {
      const side = document.createElement("aside");
      document.body.append(side);
      tabs[0]?.render(side);
    }
  },
  async loadGraphData(...given: unknown[]) {
    console.log("loadGraphData", JSON.stringify(given));
  },
  async queuePrompt(...given: unknown[]) {
    console.log("queuePrompt", JSON.stringify(given));
  },
  extensionManager: { registerSidebarTab: (tab: SidebarTab) => tabs.push(tab) },
};
