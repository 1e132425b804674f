"""Real ComfyUI for the tests of this folder: importable in-process on the CPU, and as a server.

ComfyUI and this repository both have a top-level "nodes". ComfyUI's folder comes first here, so that in-process it is
ComfyUI's; this repository's nodes are tested in the server, which loads them as it does for everyone.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from comfyui.fetch import fetch

sys.path.insert(0, str(fetch()))

# ComfyUI settles its device when comfy.model_management is imported, by its command line unless that is switched off.
import comfy.options

comfy.options.enable_args_parsing(False)

from comfy.cli_args import args  # noqa: E402

args.cpu = True
args.use_pytorch_cross_attention = True

from .server import Server  # noqa: E402


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """ComfyUI with this repository as a custom node; the tests of a session share it, its cache and its folders."""
    base = tmp_path_factory.mktemp("comfyui")
    _put_the_zoo_into(base)
    with Server(base) as running:
        yield running


def _put_the_zoo_into(base: Path) -> None:
    """Let a server whose folder is `base` have the node of zoo_nodes.py."""
    node = base / "custom_nodes" / "zoo"
    node.mkdir(parents=True)
    for name in ("zoo.py", "zoo_nodes.py"):
        (node / name).symlink_to(Path(__file__).with_name(name))
    (node / "__init__.py").write_text("from .zoo_nodes import NODE_CLASS_MAPPINGS\n", encoding="utf-8")


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the tests of a session share their checkpoints."""
    return tmp_path_factory.mktemp("checkpoints")
