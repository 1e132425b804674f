// The runs of this ComfyUI in its sidebar: a list, and one of them opened.
import { api } from "comfyui/api";
import { app } from "comfyui/app";
import { element, iconButton } from "./element";
import { plain } from "./facts";
import { runView, type RunView } from "./run_view";
import type { File, Run, RunSummary, TreeNews } from "./schema";
import { fileUrl, readRuns, readWorkflow } from "./server";

export interface RunsPanel {
  element: HTMLElement;
  destroy(): void;
}

const NO_TREES = { title: "No tree was kept", text: "The next iteration brings one." };

export function runsPanel(): RunsPanel {
  const list = element("div", { className: "list", role: "list" });
  const note = element("p", { className: "problem", role: "alert", hidden: true });
  const again = iconButton("\u21bb", "Read the runs again", () => refresh());
  const overview = element(
    "div",
    { className: "overview" },
    element("header", {}, element("h2", {}, "Runs"), again),
    note,
    list,
  );
  const host = element("div", { className: "treegrpo runs" }, overview);
  let opened: { view: RunView; element: HTMLElement } | null = null;

  async function load(): Promise<void> {
    try {
      const { runs } = await readRuns();
      say("");
      list.replaceChildren(...(runs.length ? runs.map((run) => item(run, () => open(run.run))) : [nothing()]));
    } catch (error) {
      say(messageOf(error)); // what was read before stays
    }
  }

  function say(text: string): void {
    note.textContent = text;
    note.hidden = !text;
  }

  function open(run: string): void {
    close();
    const about = element("div", { className: "about" });
    const view = runView(NO_TREES, ({ facts }) => about.replaceChildren(...(facts ? [aboutRun(facts)] : [])));
    const back = element("button", { type: "button", onclick: close }, "\u2039 Runs");
    const page = element(
      "div",
      { className: "opened" },
      element("header", {}, back, element("h2", {}, run)),
      view.element,
      about,
    );
    opened = { view, element: page };
    overview.hidden = true;
    host.append(page);
    view.follower.open(run);
  }

  function close(): void {
    opened?.view.destroy();
    opened?.element.remove();
    opened = null;
    overview.hidden = false;
    void load();
  }

  function refresh(): void {
    if (opened) opened.view.follower.refresh();
    else void load();
  }

  function news(event: Event): void {
    const { detail } = event as CustomEvent<TreeNews>;
    if (opened) opened.view.follower.news(detail);
    else if (detail.complete) void load();
  }

  api.addEventListener("treegrpo.tree", news);
  api.addEventListener("reconnected", refresh);
  window.addEventListener("focus", refresh);
  void load();
  return {
    element: host,
    destroy() {
      api.removeEventListener("treegrpo.tree", news);
      api.removeEventListener("reconnected", refresh);
      window.removeEventListener("focus", refresh);
      opened?.view.destroy();
    },
  };
}

function nothing(): HTMLElement {
  return element(
    "div",
    { className: "blank" },
    element("strong", {}, "No runs yet"),
    element("span", {}, "Queue a workflow with a Train node; its run appears here and stays."),
  );
}

function item(summary: RunSummary, onclick: () => void): HTMLElement {
  const { run, model, method, done, iterations, running, problem } = summary;
  const picture = thumbnail(summary);
  const progress = iterations ? `${done} of ${iterations} iterations` : `${done} iterations`;
  const text = element(
    "span",
    { className: "text" },
    element("strong", {}, run),
    element("span", { className: "quiet" }, [method, model].filter(Boolean).join(" \u00b7 ")),
    ...rewardLines(summary),
    element("span", { className: running ? "running" : "quiet" }, (running ? "Running, " : "") + progress),
    problem ? element("span", { className: "wrong" }, problem) : null,
  );
  return element(
    "div",
    { role: "listitem" },
    element("button", { type: "button", className: "item", onclick }, picture, text),
  );
}

function thumbnail({ thumbnail, changed }: RunSummary): HTMLElement {
  const none = () => element("span", { className: "gone", "aria-hidden": "true" }, "\u00d7");
  if (!thumbnail) return none();
  const image = element("img", { src: fileUrl(thumbnail, Math.round(changed)), alt: "" });
  image.onerror = () => image.replaceWith(none());
  return image;
}

function rewardLines({ before, after }: RunSummary): HTMLElement[] {
  return Object.keys(after).map((name) => {
    const [from, to] = [before[name] ?? null, after[name]];
    const value = (number: number | null) => (number === null ? "\u2013" : plain(number));
    return element(
      "span",
      { className: "reward" },
      element("span", {}, name),
      element("b", {}, `${value(from)} \u2192 ${value(to)}`),
    );
  });
}

/** What can be done with a run, and its files. */
function aboutRun({ summary, folder, files }: Run): HTMLElement {
  const note = element("p", { className: "problem", role: "alert", hidden: true });
  const button = (label: string, title: string, act: () => Promise<unknown>) =>
    element(
      "button",
      {
        type: "button",
        title,
        disabled: !summary.resumable,
        onclick: async () => {
          note.hidden = true;
          try {
            await act();
          } catch (error) {
            note.textContent = messageOf(error);
            note.hidden = false;
          }
        },
      },
      label,
    );
  const resume = button("Resume", "Opens the workflow of this run beside yours, and runs it", async () => {
    await openWorkflow(summary.run);
    await app.queuePrompt(0);
  });
  resume.classList.add("main");
  resume.disabled ||= summary.running;
  const workflow = button("Open workflow", "Opens the workflow of this run beside yours", () =>
    openWorkflow(summary.run),
  );
  const copy = element("button", { type: "button", onclick: () => void copied(folder, copy) }, "Copy");
  return element(
    "div",
    {},
    element("div", { className: "actions" }, resume, workflow),
    summary.resumable
      ? null
      : element("p", { className: "quiet" }, "This run did not keep its workflow, so it cannot be opened from here."),
    note,
    element("div", { className: "folder" }, element("code", {}, folder), copy),
    element("ul", { className: "files" }, ...files.map(fileLine)),
  );
}

/** Under a name of its own, the frontend opens it as another workflow and keeps the one that was open. */
async function openWorkflow(run: string): Promise<void> {
  await app.loadGraphData(await readWorkflow(run), true, true, run);
}

async function copied(text: string, button: HTMLButtonElement): Promise<void> {
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    button.textContent = "Not allowed"; // the browser gives pages without https no clipboard
  }
  setTimeout(() => (button.textContent = "Copy"), 1500);
}

function fileLine({ picture, bytes }: File): HTMLElement {
  const inside = picture.subfolder.split("/").slice(2).join("/");
  const name = inside ? `${inside}/${picture.filename}` : picture.filename;
  const link = element("a", { href: fileUrl(picture), target: "_blank", rel: "noopener" }, name);
  return element("li", {}, link, element("span", { className: "quiet" }, sizeText(bytes)));
}

export function sizeText(bytes: number): string {
  const units = ["B", "kB", "MB", "GB"];
  const power = Math.min(units.length - 1, Math.floor(Math.log10(Math.max(1, bytes)) / 3));
  return `${(bytes / 1000 ** power).toFixed(power > 1 ? 1 : 0)} ${units[power]}`;
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
