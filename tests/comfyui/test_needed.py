"""What is used of ComfyUI is looked for before it is used, and said to be missing in one sentence."""

from __future__ import annotations

import ast
import asyncio
import re
from collections.abc import Iterator
from pathlib import Path

import comfy.samplers
import comfy.utils
import pytest
from comfyui_version import __version__

import nodes
from comfyui.serve import REPOSITORY
from tests.test_rooms import HOSTS
from treegrpo.backends.comfy.needed import NEEDED, check, found
from treegrpo.errors import UsageError

FILES = [*REPOSITORY.glob("nodes/*.py"), *REPOSITORY.glob("treegrpo/backends/comfy/*.py")]


def used(file: Path) -> Iterator[str]:
    """The dotted names of ComfyUI that a module uses: those that it imports, and the attributes of what it imports."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    named: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            named |= {alias.asname: alias.name for alias in node.names if alias.asname}
            named |= {(top := alias.name.partition(".")[0]): top for alias in node.names if not alias.asname}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            named |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
    named = {local: name for local, name in named.items() if name.partition(".")[0] in HOSTS}
    yield from (name for name in named.values() if name not in HOSTS)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and (chain := re.fullmatch(r"(\w+)\.([\w.]+)", ast.unparse(node))):
            local, rest = chain.groups()
            if local in named:
                yield f"{named[local]}.{rest}"


def test_all_that_is_used_is_looked_for() -> None:
    names = {f"{module}.{name}" for module, listed in NEEDED.items() for name in listed.split()}
    known = names | {name[: dot.start()] for name in names for dot in re.finditer(r"\.", name)}
    deeper = tuple(f"{name}." for name in names)
    assert not {
        f"{file.parent.name}/{file.name} uses {name}"
        for file in FILES
        for name in used(file)
        if name not in known and not name.startswith(deeper)
    }


def test_this_comfyui_has_it_all() -> None:
    check()


def test_a_name_that_is_missing_is_in_comfyuis_log(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As ComfyUI loads the pack, on a ComfyUI that has moved two names away."""
    monkeypatch.delattr(comfy.samplers, "CFGGuider")
    monkeypatch.delattr(comfy.utils, "common_upscale")
    assert not asyncio.run(nodes.load_custom_node(str(REPOSITORY)))
    [said] = [record.getMessage() for record in caplog.records if "TreeGRPO" in record.getMessage()]
    assert said.endswith(
        f": ComfyUI {__version__} has no comfy.samplers.CFGGuider, comfy.utils.common_upscale, which TreeGRPO uses; "
        "update both, and if that does not help, write to https://github.com/treegrpo/comfyui-treegrpo/issues."
    )
    assert "Traceback" not in caplog.text


def test_what_only_some_models_need_is_looked_for_when_it_is_used() -> None:
    assert found("comfy_extras.nodes_qwen.TextEncodeQwenImageEditPlus").execute
    with pytest.raises(UsageError, match=rf"^ComfyUI {__version__} has no comfy_extras.nodes_qwen.Nothing, which "):
        found("comfy_extras.nodes_qwen.Nothing")
