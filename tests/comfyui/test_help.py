"""What explains the nodes: help pages, the locale file, tooltips, and what the search finds them by."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from comfyui.locale import FILE, PREFIX, file_text, node_definitions
from comfyui.serve import REPOSITORY

from .server import Server
from .workflow import WIDGETS

PAGES = REPOSITORY / "web" / "dist" / "docs"


@pytest.fixture(scope="module")
def nodes(server: Server) -> dict[str, Any]:
    """What the server tells of this pack's nodes, by their ids."""
    return {name: info for name, info in server.object_info().items() if name.startswith(PREFIX)}


def inputs(listed: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Name, type and options of every input, with those of a DynamicCombo's options."""
    for part in ("required", "optional"):
        for name, (kind, *options) in listed.get(part, {}).items():
            settings = options[0] if options else {}
            yield name, kind, settings
            if kind == "COMFY_DYNAMICCOMBO_V3":
                for option in settings["options"]:
                    yield from inputs(option["inputs"])


def named(page: str, section: str) -> set[str]:
    """The bold names at the beginnings of the list entries of a section."""
    _, _, rest = page.partition(f"\n## {section}\n")
    entries = re.findall(r"^- (\*\*[^*]+\*\*(?:, \*\*[^*]+\*\*)*)", rest.partition("\n## ")[0], re.MULTILINE)
    return {name for entry in entries for name in re.findall(r"\*\*([^*]+)\*\*", entry)}


def test_every_node_has_a_help_page(nodes: dict[str, Any]) -> None:
    assert {file.stem for file in PAGES.glob("*.md")} == set(nodes)


def test_help_pages_name_what_is_there(nodes: dict[str, Any]) -> None:
    for name, info in nodes.items():
        page = (PAGES / f"{name}.md").read_text(encoding="utf-8")
        assert named(page, "Inputs") <= {key for key, _, _ in inputs(info["input"])}, name
        assert named(page, "Outputs") == set(info["output_name"]), name
        assert "\n## Hint\n" in page, name


def test_the_locale_file_is_what_the_generator_makes(nodes: dict[str, Any]) -> None:
    made = file_text(node_definitions(nodes))
    assert FILE.read_text(encoding="utf-8") == made, "run python -m comfyui.locale while make comfyui runs"


def test_the_locale_leaves_out_what_two_options_mean_differently() -> None:
    options = [{"key": key, "inputs": {"required": {"size": ["INT", {"tooltip": tip}]}}} for key, tip in ("ab", "cd")]
    info = {
        "display_name": "N {x}",
        "description": "",
        "input": {"required": {"how": ["COMFY_DYNAMICCOMBO_V3", {"options": options, "tooltip": "as {x}"}]}},
        "output_name": [],
        "output_tooltips": None,
    }
    assert node_definitions({f"{PREFIX}N": info, "Other": info}) == {
        f"{PREFIX}N": {
            "display_name": "N {'{'}x{'}'}",
            "description": "",
            "inputs": {"how": {"name": "how", "tooltip": "as {x}"}},
            "outputs": {},
        }
    }


def test_the_server_serves_pages_and_locale(server: Server, nodes: dict[str, Any]) -> None:
    translations = server.get("/api/i18n")["en"]["nodeDefs"]
    definitions = node_definitions(nodes)
    for name in nodes:
        assert translations[name] == definitions[name]
        page = server.text(f"/extensions/treegrpo/docs/{name}.md")
        assert page == (PAGES / f"{name}.md").read_text(encoding="utf-8")


def test_the_search_finds_every_node(nodes: dict[str, Any]) -> None:
    for name, info in nodes.items():
        assert info["category"] == "TreeGRPO", name
        assert info["display_name"].startswith("TreeGRPO "), name
        assert info["description"].endswith("."), name
        assert info["search_aliases"], name


def test_every_widget_has_a_tooltip(nodes: dict[str, Any]) -> None:
    bare = [
        f"{name}.{key}"
        for name, info in nodes.items()
        for key, kind, options in inputs(info["input"])
        if (kind in WIDGETS or isinstance(kind, list)) and not options.get("tooltip")
    ]
    assert not bare
