// The extension: what ComfyUI loads.
import "./treegrpo.css";
import { app } from "comfyui/app";
import { addTreeWidget } from "./node_widgets";

const style = document.createElement("link");
style.rel = "stylesheet";
style.href = new URL("treegrpo.css", import.meta.url).href;
document.head.append(style);

app.registerExtension({
  name: "treegrpo",
  nodeCreated: addTreeWidget,
});
