"""The first things that a person does: open ComfyUI, open the quickstart, run it."""

from __future__ import annotations

from playwright.sync_api import Page

from tests.comfyui.server import Server

from .comfy_page import node, nodes, open_template, open_workflow, run, set_widget, shorten, wait_until_shown, widget
from .looks import canvas_and_nodes_2


def test_the_quickstart_opens_from_the_template_browser(page: Page) -> None:
    assert "treegrpo" in page.evaluate("app.extensions.map((extension) => extension.name)")
    assert not nodes(page, "TreeGRPO_Train")
    open_template(page, "quickstart")
    assert len(nodes(page, "TreeGRPO_Prompts")) == 2
    for kind in ("TreeGRPO_DemoModel", "TreeGRPO_LoraPolicy", "TreeGRPO_Reward", "TreeGRPO_Plan", "TreeGRPO_Train"):
        assert nodes(page, kind)
    assert widget(page, node(page, "TreeGRPO_Train"), "iterations") == 30


@canvas_and_nodes_2
def test_a_shortened_quickstart_runs(page: Page, server: Server, name: str) -> None:
    open_workflow(page, "quickstart")
    shorten(page)
    train = node(page, "TreeGRPO_Train")
    set_widget(page, train, "run", name)  # or the second test would find nothing left to do
    outputs = run(page, server)
    assert outputs[train]["text"][0].startswith("2 of 2")
    wait_until_shown(page, train, outputs)
    for title in ("Before", "After"):
        preview = node(page, "PreviewImage", title)
        assert len(outputs[preview]["images"]) == 4
        wait_until_shown(page, preview, outputs)
