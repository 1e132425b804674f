"""ComfyUI with this repository as a custom node.

Run `python -m comfyui.serve [--port 8188] [--base FOLDER] [-- arguments for ComfyUI]`.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

import torch

from .fetch import FetchError, fetch

REPOSITORY = Path(__file__).resolve().parent.parent
# ComfyUI makes the other folders when it first needs them.
FOLDERS = ("custom_nodes", "input", "output", "user", "models/checkpoints", "models/loras")


def make_base(base: Path) -> None:
    """Make the folder in which ComfyUI keeps everything of its user's, with this repository among the custom nodes."""
    for name in FOLDERS:
        (base / name).mkdir(parents=True, exist_ok=True)
    link = base / "custom_nodes" / "treegrpo"
    if link.is_symlink() and link.readlink() != REPOSITORY:
        link.unlink()
    if not link.is_symlink():
        link.symlink_to(REPOSITORY, target_is_directory=True)


def comfyui_arguments(base: Path, port: int) -> list[str]:
    """What to start ComfyUI with: nothing outside `base` is written, nothing but this machine is talked to."""
    places = ["--base-directory", str(base), "--database-url", "sqlite:///:memory:", "--disable-api-nodes"]
    # Left to itself, ComfyUI takes an attention on the CPU that is some ten times slower.
    device = [] if torch.accelerator.is_available() else ["--cpu", "--use-pytorch-cross-attention"]
    return [*places, *device, "--disable-auto-launch", "--listen", "127.0.0.1", "--port", str(port)]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m comfyui.serve", description="ComfyUI with treegrpo in it.")
    parser.add_argument("--port", type=int, default=8188, help="on 127.0.0.1 (default: %(default)s)")
    parser.add_argument("--base", type=Path, default=REPOSITORY / ".comfyui", help="models, pictures and settings")
    parser.add_argument("more", nargs="*", metavar="-- ...", help="arguments for ComfyUI")
    options = parser.parse_args()
    base = options.base.resolve()
    make_base(base)
    try:
        folder = fetch()
    except FetchError as error:
        sys.exit(f"comfyui: {error}")
    arguments = [*options.more, *comfyui_arguments(base, options.port)]
    print(
        f"treegrpo: in half a minute open http://127.0.0.1:{options.port}; the quickstart is under Workflow, "
        "Browse Templates, treegrpo. Ctrl+C stops ComfyUI; its error about missing templates does no harm.",
        flush=True,
    )
    # A fresh Python, since ComfyUI sets torch up before it imports it.
    command = [sys.executable, str(folder / "main.py"), *arguments]
    if sys.platform == "win32":  # where execv leaves this process and its terminal behind
        sys.exit(subprocess.call(command))
    os.execv(sys.executable, command)


if __name__ == "__main__":
    main()
