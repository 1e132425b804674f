// The extension: what ComfyUI loads.
import "./treegrpo.css";
import { api } from "comfyui/api";
import { app } from "comfyui/app";
import { addTreeWidget } from "./node_widgets";
import { runsPanel, type RunsPanel } from "./runs_panel";
import { votePanel } from "./vote_panel";

const style = document.createElement("link");
style.rel = "stylesheet";
style.href = new URL("treegrpo.css", import.meta.url).href;
document.head.append(style);

// To ComfyUI, news that nobody listens to are an error: of a run that goes on while the page loads, or without a tree.
for (const news of ["treegrpo.tree", "treegrpo.ballots"]) api.addEventListener(news, () => {});

let panel: RunsPanel | null = null;

app.registerExtension({
  name: "treegrpo",
  nodeCreated: addTreeWidget,
  setup() {
    votePanel();
    app.extensionManager.registerSidebarTab({
      id: "treegrpo-runs",
      icon: "pi pi-sitemap",
      title: "TreeGRPO",
      tooltip: "TreeGRPO: runs",
      type: "custom",
      // ComfyUI renders again whenever it likes, into the same element.
      render(element) {
        if (panel?.element.parentElement === element) return;
        panel?.destroy();
        panel = runsPanel();
        element.style.height = "100%";
        element.replaceChildren(panel.element);
      },
      destroy() {
        panel?.destroy();
        panel = null;
      },
    });
  },
});
