"""The sidebar's list of runs, as a person finds it."""

from __future__ import annotations

from playwright.sync_api import Locator, Page, expect


def panel(page: Page) -> Locator:
    """The sidebar's panel, opened if it is not."""
    runs = page.locator(".treegrpo.runs")
    if not runs.is_visible():
        page.get_by_role("button", name="TreeGRPO: runs").click()
    expect(runs).to_be_visible()
    return runs


def entry(page: Page, name: str) -> Locator:
    return panel(page).locator(".item", has=page.get_by_text(name, exact=True))
