"""What a person does in ComfyUI's page, and what can be seen of it there.

Nodes go by their ids, as text. Where the page is asked directly and not clicked, it is for speed.
"""

from __future__ import annotations

import json
from typing import Any

from playwright.sync_api import BrowserContext, ElementHandle, Page, ViewportSize, expect

from comfyui.serve import REPOSITORY
from tests.comfyui.server import Server

from .looks import NODES_2

SIZE: ViewportSize = {"width": 1600, "height": 1000}
# Without this the page opens with a workflow of ComfyUI's whose models are missing. A person's drafts come first.
NO_FIRST_WORKFLOW = "localStorage.workflow ??= " + json.dumps(
    json.dumps({"last_node_id": 0, "last_link_id": 0, "nodes": [], "links": [], "groups": [], "version": 0.4})
)
SHORT: dict[str, dict[str, Any]] = {
    "TreeGRPO_Train": {"iterations": 2, "prompts_per_iteration": 2, "save_every": 2, "evaluate_every": 2},
    "TreeGRPO_Plan": {"method.branch": 2, "method.depth": 2, "steps": 4, "width": 64, "height": 64},
}
"""Values of widgets by type of node with which a shipped workflow takes seconds."""


def open_tab(context: BrowserContext) -> Page:
    """ComfyUI in a new tab, ready for use, with what the context's tabs share: drafts, settings, storage."""
    page = context.new_page()
    page.goto("/")
    wait_until_ready(page)
    return page


def clear(page: Page, settings: dict[str, Any]) -> None:
    """Close everything that is open in a tab, and have these settings; it is then as if it had just been opened."""
    page.evaluate(
        """async (settings) => {
            const { command, setting, sidebarTab, workflow } = app.extensionManager;
            document.querySelectorAll('dialog[open]').forEach((dialog) => dialog.close());
            sidebarTab.activeSidebarTabId = null;
            for (const [name, value] of Object.entries(settings)) await setting.set(name, value);
            await command.execute('Comfy.NewBlankWorkflow');
            for (const open of workflow.openWorkflows.filter((each) => each !== workflow.activeWorkflow))
                await workflow.closeWorkflow(open);
        }""",
        settings,
    )
    settle(page)


def refresh(page: Page) -> None:
    """Load the page anew; its workflow must come back as it was.

    The page keeps a draft half a second after a change, and older ones do not hurry when they are closed. Of a page's
    timers the one that is due first goes first, however slow the machine is, so that this one ends after the draft's.
    """
    before = _values(page)
    page.evaluate("() => new Promise((done) => setTimeout(done, 1000))")
    page.reload()
    wait_until_ready(page)
    assert _values(page) == before


def wait_until_ready(page: Page) -> None:
    """Wait for the first workflow, which comes after all extensions."""
    page.wait_for_function("window.app?.graph && app.extensionManager.workflow.activeWorkflow", timeout=60_000)
    expect(page.get_by_test_id("queue-button")).to_be_visible()


def open_template(page: Page, name: str) -> None:
    """Choose a shipped workflow in the template browser."""
    page.get_by_role("button", name="Templates").first.click()
    page.get_by_test_id(f"template-workflow-{name}").click()
    page.wait_for_function(
        "(name) => app.extensionManager.workflow.activeWorkflow.path.endsWith(`/${name}.json`)", arg=name
    )
    expect(page.get_by_role("dialog")).to_have_count(0)
    settle(page)


def open_workflow(page: Page, workflow: str | dict[str, Any]) -> None:
    """Open a workflow, or a shipped one by its name, without the template browser."""
    if isinstance(workflow, str):
        workflow = json.loads((REPOSITORY / "workflows" / f"{workflow}.json").read_text(encoding="utf-8"))
    page.evaluate("(workflow) => app.loadGraphData(workflow, true, true, 'opened')", workflow)
    settle(page)


def shorten(page: Page, values: dict[str, dict[str, Any]] = SHORT) -> None:
    """Set widgets, by type of node and name, on all nodes of the type."""
    for kind, widgets in values.items():
        for node in nodes(page, kind):
            for name, value in widgets.items():
                set_widget(page, node, name, value)


def quickstart(page: Page, run: str, **train: Any) -> str:
    """Open the quickstart, shortened to seconds and without evaluations, under a run of its own; the id of Train."""
    open_workflow(page, "quickstart")
    shorten(page)
    trainer = node(page, "TreeGRPO_Train")
    for name, value in {"run": run, "evaluate_every": 0, **train}.items():
        set_widget(page, trainer, name, value)
    show(page, trainer)
    return trainer


def nodes(page: Page, kind: str) -> list[str]:
    """All nodes of a type."""
    return page.evaluate("(kind) => app.graph.nodes.filter((n) => n.type === kind).map((n) => String(n.id))", kind)


def node(page: Page, kind: str, title: str | None = None) -> str:
    """The one node of a type, or of a type and title."""
    found = [key for key in nodes(page, kind) if title is None or _of_node(page, key, "node.title") == title]
    assert len(found) == 1, f"{len(found)} nodes are {kind} {title or ''}"
    return found[0]


def wait_until_shown(page: Page, node: str, outputs: dict[str, dict[str, Any]]) -> None:
    """Wait until a node has got what the server says that it shows, its pictures included."""
    page.wait_for_function(
        """([id, output]) => {
            const same = (one, other) => JSON.stringify(one) === JSON.stringify(other);
            const got = app.nodeOutputs[id] ?? {};
            const drawn = document.querySelectorAll(`[data-node-id="${id}"] img`);
            const pictures = LiteGraph.vueNodesMode ? [...drawn] : (app.graph.getNodeById(id).imgs ?? []);
            const loaded = pictures.filter((picture) => picture.complete && picture.naturalWidth > 0);
            const wanted = output.images?.length ?? 0;
            return Object.keys(output).every((key) => same(got[key], output[key])) && loaded.length >= wanted;
        }""",
        arg=[node, outputs[node]],
    )


def widget(page: Page, node: str, name: str) -> Any:
    """The value of a widget."""
    return _of_node(page, node, "node.widgets.find((widget) => widget.name === name).value", name)


def set_widget(page: Page, node: str, name: str, value: Any) -> None:
    """Set the value of a widget, as typing it in would."""
    setting = """((widget) => {
        widget.value = value;
        widget.callback?.(value, app.canvas, node);
    })(node.widgets.find((widget) => widget.name === name))"""
    _of_node(page, node, setting, name, value)
    # After a key or a click the page looks for changes by itself.
    page.evaluate("app.extensionManager.workflow.activeWorkflow.changeTracker.checkState()")


def element(page: Page, node: str, name: str) -> ElementHandle:
    """The element of a widget of addDOMWidget, the same whoever draws the nodes; bounding_box() is where it is."""
    code = "({ id, name }) => app.graph.getNodeById(id).widgets.find((widget) => widget.name === name).element"
    found = page.evaluate_handle(code, {"id": node, "name": name}).as_element()
    assert found is not None, f"widget {name} of node {node} has no element"
    return found


def show(page: Page, node: str) -> None:
    """Have a node fill the canvas, so that what is in it can be read and clicked."""
    settle(page)  # a node that was changed has its new size only then
    _of_node(page, node, "app.canvas.ds.fitToBounds(node.boundingRect, { zoom: 0.8 })")
    page.evaluate("app.canvas.setDirty(true, true)")
    settle(page)


def use_nodes_2(page: Page, on: bool) -> None:
    """Switch Nodes 2.0 on or off in the open page."""
    page.evaluate("([name, on]) => app.extensionManager.setting.set(name, on)", [NODES_2, on])
    drawn = page.locator("[data-node-id]")
    expect(drawn).to_have_count(page.evaluate("app.graph.nodes.length") if on else 0)
    settle(page)


def start(page: Page) -> str:
    """Press Run; the id of the prompt, which runs on."""
    with page.expect_response(lambda response: _is_prompt(response.request.method, response.url)) as answer:
        page.get_by_test_id("queue-button").click()
    told = answer.value.json()
    assert not told.get("node_errors"), told
    return told["prompt_id"]


def wait(page: Page, server: Server, prompt_id: str, timeout: float = 180) -> dict[str, Any]:
    """The server's history of a prompt, once it has ended, good or bad; the page lives on meanwhile."""
    for _ in range(int(timeout / 0.1)):
        history = server.get(f"/history/{prompt_id}")
        if prompt_id in history:
            settle(page)
            return history[prompt_id]
        page.wait_for_timeout(100)
    raise TimeoutError(f"The prompt has not ended after {timeout} s.")


def run(page: Page, server: Server, timeout: float = 180) -> dict[str, Any]:
    """Press Run and wait for the end; what each node showed, by its id. Fails if the prompt fails."""
    history = wait(page, server, start(page), timeout)
    assert history["status"]["status_str"] == "success", history["status"]
    return history["outputs"]


def serialised(page: Page) -> dict[str, Any]:
    """The workflow as it would be saved."""
    return page.evaluate("app.graph.serialize()")


def save(page: Page, server: Server, name: str) -> dict[str, Any]:
    """Save the workflow under a new name; what the server has of it now."""
    page.evaluate("void app.extensionManager.command.execute('Comfy.SaveWorkflowAs')")
    field = page.get_by_role("dialog").get_by_role("textbox")
    field.fill(name)
    with page.expect_response(lambda response: response.request.method == "POST" and "/userdata/" in response.url):
        field.press("Enter")
    return server.get(f"/userdata/workflows%2F{name}.json")


def _values(page: Page) -> list[Any]:
    """The nodes with the values of their widgets, by their ids; none are as good as an empty list of them."""
    return sorted([each["id"], each["type"], each.get("widgets_values") or []] for each in serialised(page)["nodes"])


def settle(page: Page) -> None:
    """Wait until the page has drawn what it was told: two frames."""
    page.evaluate("() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def _of_node(page: Page, node: str, code: str, name: str | None = None, value: Any = None) -> Any:
    """What the code says with `node`, and a `name` and `value` to use."""
    given = {"id": node, "name": name, "value": value}
    return page.evaluate(
        f"({{ id, name, value }}) => {{ const node = app.graph.getNodeById(id); return {code}; }}", given
    )


def _is_prompt(method: str, url: str) -> bool:
    return method == "POST" and url.endswith("/prompt")
