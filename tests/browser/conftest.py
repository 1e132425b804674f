"""A browser on a real ComfyUI server. The tests share both, and a tab that is cleared between them: to load ComfyUI's
page takes longer than most tests. Other tabs are a test's own, and after a failure the first one is opened anew.

A test picks ComfyUI's settings with `parametrize("settings", ...)`; looks.py has the usual choices. What the page
looked like at the end is kept in build/screenshots.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    Response,
    WebError,
    sync_playwright,
)

from comfyui.frontend import PACKAGE, fetch_frontend
from comfyui.serve import REPOSITORY
from tests.comfyui.server import Server

from .chromium import BrowserError, find
from .comfy_page import NO_FIRST_WORKFLOW, SIZE, clear, open_tab
from .looks import DEFAULTS

SCREENSHOTS = REPOSITORY / "build" / "screenshots"
# No proxy, whatever the environment names, and nothing but this machine can be reached.
ARGUMENTS = ["--disable-gpu", "--no-proxy-server", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--front-end", metavar="VERSION", help=f"of {PACKAGE}, instead of the one that is installed")


@pytest.fixture(scope="session")
def frontend(pytestconfig: pytest.Config) -> str:
    """The version of ComfyUI's page."""
    return pytestconfig.getoption("--front-end") or version(PACKAGE)


@pytest.fixture(scope="session")
def found() -> Path | BrowserError:
    """The browser's executable, or why there is none."""
    try:
        return find()
    except BrowserError as error:
        return error


@pytest.fixture(scope="session")
def browser(found: Path | BrowserError) -> Iterator[Browser]:
    """Without one, the tests that need it are skipped, and `test_a_browser_was_found` fails."""
    if isinstance(found, BrowserError):
        pytest.skip(str(found))
    with sync_playwright() as playwright, playwright.chromium.launch(executable_path=found, args=ARGUMENTS) as browser:
        yield browser


@pytest.fixture(scope="session")
def server(browser: Browser, frontend: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """ComfyUI with this repository as a custom node; the tests of a session share it, its cache and its folders."""
    other = [] if frontend == version(PACKAGE) else ["--front-end-root", str(fetch_frontend(frontend))]
    with Server(tmp_path_factory.mktemp("comfyui"), other) as running:
        yield running


@pytest.fixture
def settings() -> dict[str, Any]:
    """ComfyUI's settings that differ from DEFAULTS."""
    return {}


@pytest.fixture
def complaints() -> Iterator[list[str]]:
    """What goes wrong with this extension in the browser, which fails a test that does not clear it."""
    heard: list[str] = []
    yield heard
    assert not heard


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """The test's own name, fit for files and runs."""
    return re.sub(r"\W+", "_", request.node.name).strip("_")


@pytest.fixture(scope="session")
def person(browser: Browser, server: Server) -> Iterator[BrowserContext]:
    """Whose tabs the tests use."""
    with browser.new_context(base_url=f"http://127.0.0.1:{server.port}", viewport=SIZE) as person:
        person.add_init_script(NO_FIRST_WORKFLOW)
        yield person


@pytest.fixture
def context(
    request: pytest.FixtureRequest,
    person: BrowserContext,
    server: Server,
    settings: dict[str, Any],
    complaints: list[str],
    name: str,
) -> Iterator[BrowserContext]:
    """What the tabs of one test share; the next one finds nothing of it."""
    server.post("/settings", DEFAULTS | settings)
    failed = request.session.testsfailed

    def hear(text: str, source: str) -> None:
        # A 404 of this extension's routes is an answer: there is no such run yet.
        if "treegrpo" in text.lower() or "/extensions/treegrpo/" in source:
            complaints.append(f"{text} ({source})")

    def read(said: ConsoleMessage) -> None:
        if said.type == "error":
            hear(said.text, said.location["url"])

    def fail(thrown: WebError) -> None:
        hear(thrown.error.message, thrown.error.stack or "")

    def check(answer: Response) -> None:
        if answer.status >= 500:
            hear(f"{answer.status} from {answer.url}", "server")

    person.on("console", read)
    person.on("weberror", fail)
    person.on("response", check)
    yield person
    for number, page in enumerate(person.pages, 1):
        page.screenshot(path=SCREENSHOTS / f"{name}{'' if number == 1 else f'_{number}'}.png")
    person.remove_listener("console", read)
    person.remove_listener("weberror", fail)
    person.remove_listener("response", check)
    for page in person.pages[request.session.testsfailed == failed :]:
        page.close()


@pytest.fixture
def page(context: BrowserContext, settings: dict[str, Any]) -> Page:
    """ComfyUI's page, ready and empty. See comfy_page for what to do with it."""
    if not context.pages:
        return open_tab(context)
    clear(context.pages[0], DEFAULTS | settings)
    return context.pages[0]
