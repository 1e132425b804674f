"""The tree in a node or in the runs panel, as a person sees and touches it."""

from __future__ import annotations

from typing import Any

from playwright.sync_api import ElementHandle, Locator, Page

from .comfy_page import element, settle

View = dict[str, Any]


def tree_of(page: Page, node: str) -> ElementHandle:
    """The canvas of a node's widget."""
    canvas = element(page, node, "tree").query_selector("canvas")
    assert canvas is not None
    return canvas


def view(canvas: ElementHandle) -> View:
    """What is drawn: zoom, prompt, iteration, and the nodes that can be seen, with their places in the canvas."""
    return canvas.evaluate("canvas => canvas.treegrpo.view()")


def frames(canvas: ElementHandle) -> list[float]:
    """Milliseconds between the latest frames."""
    return canvas.evaluate("canvas => canvas.treegrpo.frames()")


def generations(canvas: ElementHandle) -> int:
    """How many generations can be seen."""
    return len({each["generation"] for each in view(canvas)["nodes"]})


def watch(canvas: ElementHandle) -> None:
    """Keep what can be seen in every frame from now on, which the test may be too slow to ask for: see `watched`."""
    canvas.evaluate("""canvas => {
        canvas.watched = new Set();
        const look = () => {
            canvas.watched.add(new Set(canvas.treegrpo.view().nodes.map((node) => node.generation)).size);
            requestAnimationFrame(look);
        };
        look();
    }""")


def watched(canvas: ElementHandle) -> set[int]:
    """How many generations could be seen at any time since `watch`."""
    return set(canvas.evaluate("canvas => [...canvas.watched]"))


def wait_for_generations(page: Page, canvas: ElementHandle, count: int, timeout: float = 180) -> View:
    """Wait until so many generations can be seen."""
    for _ in range(int(timeout / 0.05)):
        if generations(canvas) == count:
            return view(canvas)
        page.wait_for_timeout(50)
    raise TimeoutError(f"There are {generations(canvas)} generations, not {count}, after {timeout} s.")


def place(page: Page, canvas: ElementHandle, generation: int, index: int) -> tuple[float, float]:
    """Where a node is on the page, once it stands still: a canvas with a new size is drawn some frames later."""
    before, now = None, _place(canvas, generation, index)
    while now != before:
        settle(page)
        before, now = now, _place(canvas, generation, index)
    return now


def _place(canvas: ElementHandle, generation: int, index: int) -> tuple[float, float]:
    found = [each for each in view(canvas)["nodes"] if (each["generation"], each["index"]) == (generation, index)]
    assert found, f"node {index} of generation {generation} is not on the canvas"
    box = canvas.bounding_box()
    assert box is not None
    scale = box["width"] / canvas.evaluate("canvas => canvas.offsetWidth")
    return box["x"] + scale * found[0]["x"], box["y"] + scale * found[0]["y"]


def click(page: Page, canvas: ElementHandle, generation: int, index: int, modifier: str | None = None) -> None:
    """Pick a node of the tree by a click, or by another where the tree has moved under the first, as when curves come
    below it. modifier: a key that is held."""
    for _ in range(5):
        if modifier:
            page.keyboard.down(modifier)
        page.mouse.click(*place(page, canvas, generation, index))
        if modifier:
            page.keyboard.up(modifier)
        settle(page)
        if {"generation": generation, "index": index} in view(canvas)["picked"]:
            return
        if not modifier:
            page.keyboard.press("Escape")  # closes the card of another node, which may cover this one
    raise AssertionError(f"{view(canvas)['picked']} were picked, not node {index} of generation {generation}")


def card(page: Page) -> Locator:
    """The picture that was picked, with what is known of it."""
    return page.locator(".treegrpo .card:visible")


def fact(page: Page, name: str) -> str:
    """A figure on the card, such as "advantage"."""
    return card(page).locator("dt", has_text=name).locator("xpath=following-sibling::dd[1]").first.inner_text()
