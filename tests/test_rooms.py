"""Which folder may import which: arrows between them point one way, and modules make no circle."""

from __future__ import annotations

import ast
from functools import cache
from graphlib import CycleError, TopologicalSorter
from importlib.util import resolve_name
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TOP = "repository"
CODE = ("comfyui", "emoji_model", "nodes", "scripts", "tests", "treegrpo")
FLOORS = (
    ("errors", "console", "bundled"),
    ("method",),
    ("memory", "run"),
    ("pictures",),
    ("rewards",),
    ("backends",),
    ("training",),
    ("bench",),
    ("cli",),
    ("__main__",),
)
"""The rooms of treegrpo/, from the ground up; each may import what lies below its floor."""
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
HOSTS = {
    "comfy",
    "comfy_api",
    "comfy_extras",
    "comfy_kitchen",
    "comfyui_version",
    "folder_paths",
    "node_helpers",
    "nodes",
    "server",
}
PIPELINES = {"accelerate", "diffusers", "peft"}


@cache
def modules() -> dict[str, Path]:
    """All modules of the repository by their dotted names; the entry, which ComfyUI names, has none."""
    found = {"": ROOT / "__init__.py"}
    for file in (file for folder in CODE for file in (ROOT / folder).rglob("*.py")):
        parts = file.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


@cache
def imports() -> dict[str, set[str]]:
    """What every module imports, anywhere in it and for types too, with relative names made whole."""
    known = modules()
    found: dict[str, set[str]] = {}
    for name, file in known.items():
        package = name if file.name == "__init__.py" else name.rpartition(".")[0]
        found[name] = set()
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found[name].update(alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                dots = "." * node.level + (node.module or "")
                source = (
                    resolve_name(dots, f"{TOP}.{package}".rstrip(".")).removeprefix(f"{TOP}.") if node.level else dots
                )
                for alias in node.names:
                    whole = f"{source}.{alias.name}"
                    found[name].add(whole if whole in known else source)
    return found


def room(module: str) -> str:
    """The folder, or the file, of a module right below treegrpo/."""
    return module.split(".")[1]


LIBRARY = sorted(name for name in modules() if name.startswith("treegrpo."))


def test_every_room_has_a_floor_and_every_floor_its_rooms():
    assert {room(name) for name in LIBRARY} == set(FLOOR)


def test_a_room_imports_what_lies_below_it():
    wrong = {
        f"{name} imports {other}"
        for name in LIBRARY
        for other in imports()[name]
        if other.startswith("treegrpo.") and room(other) != room(name) and FLOOR[room(other)] >= FLOOR[room(name)]
    }
    assert not wrong


def test_no_module_imports_itself_on_any_way():
    own = set(modules())
    # A module runs the __init__ of its packages first, which is no circle: what these import stands on its own.
    graph = {name: {other for other in imports()[name] & own if not name.startswith(f"{other}.")} for name in own}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


def test_only_backends_know_comfyui_and_diffusers():
    wrong = set()
    for name in LIBRARY:
        own = "treegrpo.backends.comfy" if name.startswith("treegrpo.backends.comfy") else room(name)
        foreign = {"treegrpo.backends.comfy": PIPELINES, "backends": HOSTS}.get(own, HOSTS | PIPELINES)
        wrong |= {f"{name} imports {other}" for other in imports()[name] if other.split(".")[0] in foreign}
    assert not wrong


def test_only_the_entry_imports_the_nodes():
    others = {name for name in modules() if name.split(".")[0] not in ("nodes", "tests")}
    assert {name for name in others if any(other.split(".")[0] == "nodes" for other in imports()[name])} == {""}


def test_the_pack_says_of_its_modules_where_they_are_from_itself():
    """ComfyUI imports it under a name of its own, so that an absolute import would load a second copy."""
    wrong = {
        f"{name} imports {node.module}"
        for name, file in modules().items()
        if name.split(".")[0] in ("", "nodes", "treegrpo")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.ImportFrom) and not node.level and (node.module or "").startswith("treegrpo")
    }
    assert not wrong


def test_text_files_name_their_encoding():
    """Or Windows takes its own."""
    texts = {"read_text", "write_text"}
    wrong = {
        f"{name}, line {node.lineno}"
        for name, file in modules().items()
        if name.split(".")[0] != "tests"
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in texts
        if not any(keyword.arg == "encoding" for keyword in node.keywords)
    }
    assert not wrong
