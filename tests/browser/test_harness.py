"""What the tests of this folder stand on: the page's helpers, and that nothing of this extension's fails silently."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from playwright.sync_api import BrowserContext, Page

from tests.comfyui.server import Server

from .chromium import BrowserError
from .comfy_page import (
    SIZE,
    element,
    node,
    nodes,
    open_workflow,
    refresh,
    save,
    serialised,
    set_widget,
    show,
    use_nodes_2,
    widget,
)


def test_a_browser_was_found(found: Path | BrowserError) -> None:
    """Fails where all others are skipped, so that a run without them is not taken for a good one."""
    assert isinstance(found, Path), found


def test_the_page_is_the_front_end_that_was_asked_for(page: Page, frontend: str) -> None:
    assert page.evaluate("window.__COMFYUI_FRONTEND_VERSION__") == frontend


def test_complaints_are_heard_from_every_tab(page: Page, context: BrowserContext, complaints: list[str]) -> None:
    other = context.new_page()
    other.goto("/system_stats")  # of the same server, and loaded at once
    page.evaluate("console.error('Something else')")
    page.evaluate("console.error('treegrpo: something')")
    other.evaluate("setTimeout(() => { throw new Error('TreeGRPO failed') })")
    other.wait_for_timeout(100)
    assert [text.partition(" (")[0] for text in complaints] == ["treegrpo: something", "TreeGRPO failed"]
    complaints.clear()


def test_a_workflow_is_refreshed_and_saved(page: Page, server: Server) -> None:
    open_workflow(page, "quickstart")
    train = node(page, "TreeGRPO_Train")
    set_widget(page, train, "iterations", 7)
    refresh(page)
    assert widget(page, train, "iterations") == 7
    set_widget(page, train, "iterations", 8)
    before = serialised(page)
    saved = save(page, server, "kept")
    assert values(saved) == values(before)
    open_workflow(page, "step_by_step")
    assert not nodes(page, "TreeGRPO_Train")
    open_workflow(page, saved)
    assert values(serialised(page)) == values(before)


def test_an_element_in_a_node_has_its_place_whoever_draws_it(page: Page) -> None:
    open_workflow(page, "quickstart")
    plan = node(page, "TreeGRPO_Plan")
    page.evaluate(
        """(id) => {
            const element = document.createElement('div');
            element.textContent = 'probe';
            app.graph.getNodeById(id).addDOMWidget('probe', 'probe', element, { getMinHeight: () => 100 });
        }""",
        plan,
    )
    for nodes_2 in (True, False):
        use_nodes_2(page, nodes_2)
        show(page, plan)
        probe = element(page, plan, "probe")
        probe.wait_for_element_state("visible")
        box = probe.bounding_box()
        assert box is not None
        assert box["width"] > 100
        assert box["height"] > 20
        assert box["y"] + box["height"] < SIZE["height"]


def values(workflow: dict[str, Any]) -> dict[str, Any]:
    """The values of its widgets, by node."""
    return {str(node["id"]): node.get("widgets_values") for node in workflow["nodes"]}
