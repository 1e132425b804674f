"""A person's taste as the reward: the panel that asks for it, and what the answers change."""

from __future__ import annotations

import json
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Locator, Page, expect

from tests.comfyui.server import Server

from .comfy_page import node, open_tab, quickstart, set_widget, show, start, wait, wait_until_ready
from .looks import PALETTE
from .tree_widget import tree_of, wait_for_generations


def ask(page: Page, run: str, how: str = "stars", minutes: float = 0, **train: Any) -> str:
    """Queue a quickstart of seconds whose only judge is the person at the page; the id of the prompt."""
    quickstart(page, run, iterations=1, **train)
    reward = node(page, "TreeGRPO_Reward")
    for name, value in {"reward": "human_votes", "reward.how": how, "reward.timeout_minutes": minutes}.items():
        set_widget(page, reward, name, value)
    return start(page)


def panel(page: Page) -> Locator:
    """The voting panel, once it is open."""
    dialog = page.get_by_role("dialog", name="Vote on pictures")
    expect(dialog).to_be_visible(timeout=30_000)
    return dialog


def picture(page: Page, number: int) -> Locator:
    return panel(page).locator(".picture").nth(number - 1)


def tree(server: Server, run: str) -> dict[str, Any]:
    return server.get(f"/treegrpo/runs/{run}/trees/live")


def test_stars_become_advantages(page: Page, server: Server, name: str) -> None:
    """With the mouse for the first prompt, with keys for the second."""
    prompt = ask(page, name)
    dialog = panel(page)
    expect(dialog).to_contain_text("1 of 2")
    expect(dialog.locator(".picture img")).to_have_count(4)
    submit = dialog.get_by_role("button", name="Submit")
    expect(submit).to_be_disabled()
    for number, stars in ((1, 5), (2, 1), (3, 3)):
        picture(page, number).get_by_role("button", name=f"{stars} star").click()
    submit.click()
    expect(dialog).to_contain_text("2 of 2")
    picture(page, 1).focus()
    for key in ("2", "ArrowRight", "4", "Control+Enter"):
        page.keyboard.press(key)
    expect(dialog).to_be_hidden()
    assert wait(page, server, prompt)["status"]["status_str"] == "success"
    grown = tree(server, name)
    assert grown["rewards"]["human_votes"] == [1, -1, 0, 0, -0.5, 0.5, 0, 0]
    advantages = grown["leaf_advantage"]
    assert advantages[0] == max(advantages[:4])
    assert advantages[1] == min(advantages[:4])
    assert advantages[5] > 0 > advantages[4]
    kept = [json.loads(file.read_text()) for file in (server.base / "output/treegrpo" / name / "votes").glob("*.json")]
    assert sorted((vote["votes"] for vote in kept), key=str) == [[2, 4, None, None], [5, 1, 3, None]]


@pytest.mark.parametrize(
    ("settings", "how", "keys", "scores"),
    [
        ({}, "thumbs", ["u", "ArrowRight", "d"], [1, -1, 0, 0]),
        ({PALETTE: "light"}, "rank", ["ArrowRight", "Enter", "ArrowLeft", "Enter"], [1 / 3, 1, -2 / 3, -2 / 3]),
    ],
    ids=["thumbs dark", "ranks light"],
)
def test_thumbs_and_ranks(
    page: Page, server: Server, name: str, how: str, keys: list[str], scores: list[float]
) -> None:
    prompt = ask(page, name, how=how)
    picture(page, 1).focus()
    for key in keys:
        page.keyboard.press(key)
    page.screenshot(path=f"build/screenshots/{name}_panel.png")
    page.keyboard.press("Control+Enter")
    expect(panel(page)).to_contain_text("2 of 2")
    panel(page).get_by_role("button", name="Skip").click()
    wait(page, server, prompt)
    # Six digits are kept.
    assert tree(server, name)["rewards"]["human_votes"][:4] == pytest.approx(scores, abs=1e-5)
    assert tree(server, name)["rewards"]["human_votes"][4:] == [None] * 4
    assert tree(server, name)["leaf_advantage"][4:] == [0] * 4


def test_a_closed_panel_waits_and_a_new_page_asks_again(page: Page, server: Server, name: str) -> None:
    prompt = ask(page, name)
    panel(page).get_by_role("button", name="Close").click()
    expect(panel_of(page)).to_be_hidden()
    page.get_by_role("button", name="2 prompts wait for your vote").click()
    expect(panel(page)).to_contain_text("1 of 2")
    page.reload()
    wait_until_ready(page)
    panel(page).get_by_role("button", name="Skip").click()
    expect(panel(page)).to_contain_text("2 of 2")
    server.interrupt()
    expect(panel_of(page)).to_contain_text("its time was up")
    history = wait(page, server, prompt)
    assert "Interrupted" in history["outputs"][node(page, "TreeGRPO_Train")]["text"][0]


def panel_of(page: Page) -> Locator:
    """The voting panel, open or not."""
    return page.locator("dialog.votes")


def test_time_that_is_up_goes_on_without_a_vote(page: Page, server: Server, name: str) -> None:
    prompt = ask(page, name, minutes=0.1)
    expect(panel(page).locator(".time")).to_contain_text("0:0")
    wait(page, server, prompt)
    expect(panel_of(page)).to_contain_text("its time was up")
    assert tree(server, name)["rewards"]["human_votes"] == [None] * 8


def test_two_tabs_share_the_ballots_and_the_tree(
    page: Page, context: BrowserContext, server: Server, name: str
) -> None:
    other = open_tab(context)
    trainer = quickstart(other, name)
    page.bring_to_front()
    prompt = ask(page, name)
    expect(panel(page)).to_contain_text("1 of 2")
    expect(panel(other)).to_contain_text("1 of 2")
    picture(page, 2).get_by_role("button", name="4 star").click()
    panel(page).get_by_role("button", name="Submit").click()
    expect(panel(other)).to_contain_text("2 of 2")
    expect(panel(other)).to_contain_text("answered elsewhere")
    other.bring_to_front()
    panel(other).get_by_role("button", name="Skip").click()
    expect(panel_of(other)).to_be_hidden()
    expect(panel(page)).to_contain_text("Nothing is left to vote on")
    page.bring_to_front()
    panel(page).get_by_role("button", name="Close").click()
    expect(panel_of(page)).to_be_hidden()
    wait(page, server, prompt)
    assert tree(server, name)["rewards"]["human_votes"][:4] == [0, 0.5, 0, 0]
    for tab in (page, other):
        tab.bring_to_front()
        show(tab, trainer)
        wait_for_generations(tab, tree_of(tab, trainer), 3)
