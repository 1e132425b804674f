"""The tree in its nodes: it grows, it tells, it comes back, and nothing that happens to its run breaks it."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import pytest
import torch
from playwright.sync_api import Page, expect

from tests.comfyui.server import Server
from treegrpo.method.plan import preset
from treegrpo.run.live_tree import LIVE
from treegrpo.run.tree_record import generation, generations, outline, save_tree

from .comfy_page import (
    SIZE,
    element,
    node,
    open_workflow,
    quickstart,
    refresh,
    run,
    save,
    serialised,
    set_widget,
    shorten,
    show,
    start,
    use_nodes_2,
    wait,
    widget,
)
from .looks import in_nodes_2, light
from .runs_panel import entry
from .tree_widget import card, click, fact, frames, place, tree_of, view, wait_for_generations, watch, watched

LEAVES = 4096


def folder(server: Server, run: str) -> Path:
    return server.base / "output" / "treegrpo" / run


@in_nodes_2
def test_it_grows_and_tells_what_is_in_the_run_folder(page: Page, server: Server, name: str) -> None:
    trainer = quickstart(page, name, iterations=2)
    plan = node(page, "TreeGRPO_Plan")
    for setting, value in {"method.branch": 3, "method.depth": 3, "steps": 10}.items():
        set_widget(page, plan, setting, value)
    expect(page.locator(".treegrpo .blank:visible")).to_contain_text("Nothing has grown yet")
    canvas = tree_of(page, trainer)
    watch(canvas)
    run(page, server)
    assert len(watched(canvas)) > 2, f"it was seen with {watched(canvas)} generations only"
    wait_for_generations(page, canvas, 4)
    page.wait_for_function("canvas => canvas.treegrpo.view().iteration === 1", arg=canvas)
    show(page, trainer)
    expect(page.locator(".treegrpo .state:visible").first).to_contain_text("iteration 2 of 2")
    page.mouse.move(*place(page, canvas, 3, 5))
    for known in ("Leaf 6 of 27", "clipscore", "advantage", "log-prob", "step"):
        expect(page.locator(".treegrpo .tip:visible")).to_contain_text(known)
    click(page, canvas, 3, 4)
    tree = server.get(f"/treegrpo/runs/{name}/trees/live")
    shown = view(canvas)
    assert shown["picked"] == [{"generation": 3, "index": 4}]
    leaf = shown["prompt"] * 27 + 4
    assert float(fact(page, "clipscore")) == pytest.approx(tree["rewards"]["clipscore"][leaf], abs=5e-4)
    stored = json.loads((folder(server, name) / "trees" / "1.json").read_text())
    assert stored["rewards"] == tree["rewards"]
    expect(card(page).locator(".stop")).to_have_count(4)


@in_nodes_2
def test_keys_lead_along_the_tree_and_two_leaves_are_compared(page: Page, server: Server, name: str) -> None:
    trainer = quickstart(page, name, iterations=1)
    run(page, server)
    show(page, trainer)
    canvas = tree_of(page, trainer)
    wait_for_generations(page, canvas, 3)
    canvas.focus()
    for key in ("ArrowRight", "ArrowRight"):
        page.keyboard.press(key)
    tree = server.get(f"/treegrpo/runs/{name}/trees/live")
    first = view(canvas)["focus"]
    assert first["generation"] == 2
    advantages = tree["generations"][2]["advantage"][:4]
    siblings = range(first["index"] // 2 * 2, first["index"] // 2 * 2 + 2)
    assert advantages[first["index"]] == max(advantages[i] for i in siblings), "right leads to the best child"
    voice = page.locator(".treegrpo .voice").first
    assert voice.inner_text().startswith(f"Leaf {first['index'] + 1} of 4, clipscore 0.")
    page.keyboard.press("Enter")
    expect(card(page)).to_be_visible()
    other = (first["index"] + 1) % 4
    click(page, canvas, 2, other, modifier="Shift")
    expect(card(page)).to_contain_text(f"Leaf {other + 1} against leaf {first['index'] + 1}")
    expect(card(page).locator("figure")).to_have_count(2)
    page.keyboard.press("Escape")
    expect(card(page)).to_have_count(0)
    page.keyboard.press("+")
    page.wait_for_function("canvas => canvas.treegrpo.view().k > 1.5", arg=canvas)
    zoom = page.evaluate("app.canvas.ds.scale")
    page.mouse.move(*place(page, canvas, view(canvas)["nodes"][0]["generation"], view(canvas)["nodes"][0]["index"]))
    page.mouse.wheel(0, -200)
    page.wait_for_function("canvas => canvas.treegrpo.view().k > 1.7", arg=canvas)
    assert page.evaluate("app.canvas.ds.scale") == zoom, "the wheel is for the tree and not for the graph"


def test_a_page_that_is_loaded_anew_goes_on_watching(page: Page, server: Server, name: str) -> None:
    """In the middle of a run, and after it; so does the list of runs."""
    trainer = quickstart(page, name, iterations=60)
    prompt = start(page)
    wait_for_generations(page, tree_of(page, trainer), 3)
    expect(entry(page, name)).to_contain_text("Running", timeout=30_000)
    refresh(page)
    expect(entry(page, name)).to_contain_text("Running")
    show(page, trainer)
    canvas = tree_of(page, trainer)
    wait_for_generations(page, canvas, 3)
    before = view(canvas)["iteration"]
    page.wait_for_function(
        "([canvas, before]) => canvas.treegrpo.view().iteration > before", arg=[canvas, before], timeout=60_000
    )
    server.interrupt()
    wait(page, server, prompt)
    last = server.get(f"/treegrpo/runs/{name}/trees/live")["iteration"]
    done = server.get(f"/treegrpo/runs/{name}")["summary"]["done"]
    refresh(page)
    expect(entry(page, name)).not_to_contain_text("Running")
    expect(entry(page, name)).to_contain_text(f"{done} of 60 iterations")
    show(page, trainer)
    canvas = tree_of(page, trainer)
    page.wait_for_function("([canvas, last]) => canvas.treegrpo.view().iteration === last", arg=[canvas, last])


def test_the_workflow_holds_no_tree(page: Page, server: Server, name: str) -> None:
    """A preview is remembered by its id, and is there again when the saved workflow is opened."""
    open_workflow(page, "step_by_step")
    shorten(page)
    empty = len(json.dumps(serialised(page)))
    run(page, server)
    preview = node(page, "TreeGRPO_PreviewTree")
    show(page, preview)
    wait_for_generations(page, tree_of(page, preview), 3)
    saved = save(page, server, name)
    assert len(json.dumps(saved)) < empty + 500
    open_workflow(page, "quickstart")
    open_workflow(page, saved)
    show(page, preview)
    wait_for_generations(page, tree_of(page, preview), 3)
    assert page.evaluate("(id) => app.graph.getNodeById(id).properties.treegrpo.run", preview).startswith("~")


def large_run(server: Server, name: str) -> dict[str, Any]:
    """A run whose tree has LEAVES leaves, made up: training it would take an hour here."""
    plan = preset("treegrpo", steps=10, window=(2, 3, 4), branch=16, roots=1)
    assert plan.leaves == LEAVES
    numbers = torch.Generator().manual_seed(0)
    record = outline(plan, ["a forest"], torch.linspace(1, 0, 11), 0)
    levels = generations(plan)
    record["generations"] = [generation(plan, level) for level in levels]
    for each in record["generations"][1:]:
        each["log_prob"] = torch.randn(each["count"], generator=numbers).tolist()
        each["advantage"] = torch.randn(each["count"], generator=numbers).tolist()
        each["share"] = [1 / each["count"]] * each["count"]
    scores = torch.rand(LEAVES, generator=numbers).tolist()
    record |= {"step": 10, "complete": True, "rewards": {"made up": scores}, "leaf_advantage": scores}
    colours = torch.rand(sum(each["count"] for each in record["generations"]), 1, 1, 3, generator=numbers)
    images = colours * torch.linspace(0.3, 1, 64)[None, :, None, None].expand(-1, 64, 64, 1)
    return save_tree(folder(server, name) / "trees", LIVE, record, images)


# From inside the page: a mouse that is moved from outside moves every 40 ms only.
DRAG = """async ([canvas, x, y, way]) => {
    const send = (type, at, target) => target.dispatchEvent(new MouseEvent(type, {
        bubbles: true, cancelable: true, view: window, clientX: x, clientY: at, buttons: type === 'mouseup' ? 0 : 1,
    }));
    send('mousedown', y, canvas);
    for (let i = 1; i <= 90; i++) {
        await new Promise(requestAnimationFrame);
        send('mousemove', y + way * i / 90, window);
    }
    send('mouseup', y + way, window);
}"""


@pytest.mark.long
def test_4096_leaves_stay_smooth(page: Page, server: Server, name: str) -> None:
    """The median of the times between frames, while dragging: the best of three drags, since machines are busy."""
    large_run(server, name)
    trainer = quickstart(page, name)
    canvas = tree_of(page, trainer)
    wait_for_generations(page, canvas, 4)
    box = canvas.bounding_box()
    assert box is not None
    middle = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.move(*middle)
    page.mouse.wheel(0, -1500)
    page.wait_for_timeout(300)
    before = view(canvas)
    assert len(before["nodes"]) < LEAVES, "zoomed in"
    medians = []
    for way in (-60, 60, -60):
        page.evaluate(DRAG, [canvas, *middle, way])
        medians.append(statistics.median(frames(canvas)[-60:]))
    print(f"median ms between frames, {LEAVES} leaves: {', '.join(f'{each:.1f}' for each in medians)}")
    assert min(medians) < 33, medians
    assert view(canvas)["y"] != before["y"], "it was dragged"


def test_a_run_that_loses_files_while_it_is_shown(page: Page, server: Server, name: str, complaints: list[str]) -> None:
    """A tree that is cut short, pictures that are gone, a run that is deleted: said, and the widget goes on."""
    trainer = quickstart(page, name, iterations=1)
    run(page, server)
    show(page, trainer)
    canvas = tree_of(page, trainer)
    wait_for_generations(page, canvas, 3)
    problem = page.locator(".treegrpo .problem:visible")
    expect(problem).to_have_count(0)

    live = folder(server, name) / "trees" / f"{LIVE}.json"
    whole = live.read_bytes()
    live.write_bytes(whole[: len(whole) // 2])
    reconnect(page)
    expect(problem.first).to_contain_text("live.json")
    live.write_bytes(whole)
    live.with_suffix(".jpg").unlink()
    refresh(page)
    show(page, trainer)
    expect(problem.first).to_contain_text("pictures of this tree are gone")
    canvas = tree_of(page, trainer)
    wait_for_generations(page, canvas, 3)
    click(page, canvas, 2, 0)
    assert float(fact(page, "clipscore")) > 0, "the figures are still there"
    page.keyboard.press("Escape")

    hidden = folder(server, name).rename(folder(server, f"{name} gone"))
    reconnect(page)
    expect(page.locator(".treegrpo .problem:visible, .treegrpo .blank:visible").first).to_be_visible()
    hidden.rename(folder(server, name))
    reconnect(page)
    wait_for_generations(page, tree_of(page, trainer), 3)
    complaints.clear()  # the browser complains of the picture and of the damaged tree, as it should


def reconnect(page: Page) -> None:
    """Cut the websocket; ComfyUI's page opens it again and says so."""
    page.evaluate("""() => new Promise((done) => {
        app.api.addEventListener('reconnected', done, { once: true });
        app.api.socket.close();
    })""")


@light
def test_news_that_were_missed_are_fetched_when_the_socket_returns(page: Page, server: Server, name: str) -> None:
    trainer = quickstart(page, name, iterations=1)
    run(page, server)
    show(page, trainer)
    canvas = tree_of(page, trainer)
    wait_for_generations(page, canvas, 3)
    large_run(server, name)  # nobody told the page
    reconnect(page)
    wait_for_generations(page, canvas, 4)


def test_the_widget_has_its_place_whoever_draws_it(page: Page, server: Server, name: str) -> None:
    trainer = quickstart(page, name, iterations=1)
    run(page, server)
    for nodes_2 in (True, False):
        use_nodes_2(page, nodes_2)
        show(page, trainer)
        shown = element(page, trainer, "tree")
        box = shown.bounding_box()
        assert box is not None
        assert box["width"] > 150
        assert box["height"] > 150
        assert 0 <= box["y"] < box["y"] + box["height"] <= SIZE["height"]
        wait_for_generations(page, tree_of(page, trainer), 3)
    assert widget(page, trainer, "run") == name
