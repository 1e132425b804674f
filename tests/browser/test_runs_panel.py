"""The sidebar's list of runs: what it shows comes from the run folders alone."""

from __future__ import annotations

import json
import shutil
from typing import Any

from playwright.sync_api import Locator, Page, expect

from tests.comfyui.server import Server

from .comfy_page import (
    nodes,
    open_workflow,
    quickstart,
    run,
    start,
    wait,
    widget,
)
from .looks import light
from .runs_panel import entry, panel
from .tree_widget import generations


def test_a_run_is_listed_and_opened(page: Page, server: Server, name: str) -> None:
    quickstart(page, name)
    run(page, server)
    summary = server.get(f"/treegrpo/runs/{name}")["summary"]
    item = entry(page, name)
    expect(item).to_contain_text("2 of 2 iterations")
    expect(item).to_contain_text("treegrpo")
    expect(item).to_contain_text(f"{summary['before']['clipscore']:.3f} → {summary['after']['clipscore']:.3f}")
    item.click()
    opened = panel(page).locator(".opened")
    canvas = opened.locator(".view canvas").element_handle()
    page.wait_for_function("canvas => canvas.treegrpo.view().nodes.length > 0", arg=canvas)
    assert generations(canvas) == 3
    opened.get_by_label("Iteration").select_option("Iteration 2")
    page.wait_for_function("canvas => canvas.treegrpo.view().iteration === 1", arg=canvas)
    expect(opened.locator(".folder")).to_contain_text(f"treegrpo/{name}")
    with page.expect_popup() as shown:
        opened.get_by_role("link", name="metrics.jsonl").click()
    shown.value.close()


@light
def test_curves_of_trained_held_out_and_watched_rewards(page: Page, server: Server, name: str) -> None:
    """A run that hacks its reward, as its metrics tell: what is watched falls while what is trained rises."""
    rows = [
        {
            "iteration": i,
            "reward": {"jpeg_incompressibility": 2.4 + 0.02 * i},
            "spread": {"jpeg_incompressibility": 0.1},
            "heldout": 2.5 + 0.015 * i if i % 4 == 3 else None,
            "watched": {"clipscore": 0.56 - 0.005 * i} if i % 4 == 3 else {},
        }
        for i in range(32)
    ]
    write_metrics(server, name, rows)
    entry(page, name).click()
    curves = panel(page).locator(".opened .curves")
    expect(curves.locator("figure")).to_have_count(2)
    trained, watched = curves.locator("figure").all()
    for legend in ("jpeg_incompressibility", "━ trained", "● held out", "held out 2.96"):
        expect(trained).to_contain_text(legend)
    for legend in ("clipscore", "● watched", "watched 0.405"):
        expect(watched).to_contain_text(legend)
    expect(watched).not_to_contain_text("trained")


def test_the_first_iteration_of_a_run_is_seen_as_a_dot(page: Page, server: Server, name: str) -> None:
    write_metrics(server, name, [{"iteration": 0, "reward": {"clipscore": 0.3}, "spread": {"clipscore": 0.1}}])
    entry(page, name).click()
    canvas = panel(page).locator(".opened .curves canvas")
    expect(panel(page).locator(".opened .curves output")).to_contain_text("iteration 1")
    assert coloured_pixels(canvas) > 10, "axes and grid are grey"


def write_metrics(server: Server, name: str, rows: list[dict[str, Any]]) -> None:
    folder = server.base / "output" / "treegrpo" / name
    folder.mkdir(parents=True)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def coloured_pixels(canvas: Locator) -> int:
    return canvas.evaluate(
        """canvas => {
            const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
            let count = 0;
            for (let i = 0; i < data.length; i += 4) {
                const [red, green, blue, alpha] = data.subarray(i, i + 4);
                if (alpha > 128 && Math.max(red, green, blue) - Math.min(red, green, blue) > 60) count++;
            }
            return count;
        }"""
    )


def test_a_run_is_resumed_from_its_folder(page: Page, server: Server, name: str) -> None:
    """Its workflow opens beside the one that is open, and goes on where it was interrupted."""
    quickstart(page, name, iterations=60)
    prompt = start(page)
    page.wait_for_function(
        "async (name) => (await (await app.api.fetchApi(`/treegrpo/runs/${name}`)).json()).summary?.done > 0", arg=name
    )
    server.interrupt()
    wait(page, server, prompt)
    done = server.get(f"/treegrpo/runs/{name}")["summary"]["done"]
    open_workflow(page, "step_by_step")
    entry(page, name).click()
    panel(page).get_by_role("button", name="Resume").click()
    page.wait_for_function("app.graph.nodes.some((node) => node.type === 'TreeGRPO_Train')")
    assert widget(page, nodes(page, "TreeGRPO_Train")[0], "run") == name
    page.wait_for_function(
        "async ([name, done]) => (await (await app.api.fetchApi(`/treegrpo/runs/${name}`)).json()).summary.done > done",
        arg=[name, done],
        timeout=60_000,
    )
    server.interrupt()
    names = page.evaluate("app.extensionManager.workflow.openWorkflows.map((each) => each.path)")
    assert len(names) > 2, "the other workflow is still open"


def test_a_run_that_is_deleted_while_it_is_shown(page: Page, server: Server, name: str) -> None:
    quickstart(page, name, iterations=1)
    run(page, server)
    entry(page, name).click()
    opened = panel(page).locator(".opened")
    expect(opened.locator(".folder")).to_be_visible()
    shutil.rmtree(server.base / "output" / "treegrpo" / name)
    page.evaluate("window.dispatchEvent(new Event('focus'))")
    expect(opened.get_by_role("alert")).to_contain_text("not there any more")
    opened.get_by_role("button", name="Runs").click()
    expect(entry(page, name)).to_have_count(0)
