"""Make torchvision and torchaudio importable beside a CPU build of torch, where they are installed.

ComfyUI imports both when it starts. On Linux the package index has them linked against CUDA only, so that beside a
CPU build of torch their C libraries cannot load, and importing them fails. Nothing here needs what is in the
libraries, so this takes them out of the way, in this environment, where an import fails; it changes nothing where
both work. It is done once after installing, not at run time, because every process needs it: the server, the tests
and whatever the tests start.

Run `python -m comfyui.prepare` with the environment's own Python.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

# torchvision skips a library that does not load, but then describes operators that only the library defines.
DEFINITIONS = """

# Added by treegrpo's comfyui/prepare.py, since the library above does not load beside this build of torch.
_LIBRARY = torch.library.Library("torchvision", "DEF")
for _name in ("nms", "qnms"):
    _LIBRARY.define(f"{_name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
"""


def package(name: str) -> Path:
    """The folder of an installed package, found without importing it. Raises ModuleNotFoundError if it is missing."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError(f'"{name}" is not installed; run pip install -r comfyui/requirements.txt.')
    return Path(spec.origin).parent


def importable(name: str) -> bool:
    """Whether a fresh Python can import the package."""
    return subprocess.run([sys.executable, "-c", f"import {name}"], capture_output=True).returncode == 0


def define_operators() -> None:
    """Let torchvision define what it describes."""
    file = package("torchvision") / "extension.py"
    source = file.read_text(encoding="utf-8")
    file.unlink()  # other environments may hold the same file by a hard link
    file.write_text(source + DEFINITIONS, encoding="utf-8")


def remove_library() -> None:
    """Let torchaudio go without its library, which it does when it finds none."""
    for library in (package("torchaudio") / "lib").glob("_torchaudio*"):
        library.unlink()


def prepare() -> None:
    """Repair what cannot be imported. Raises RuntimeError if it cannot be imported after that either."""
    for name, repair in (("torchvision", define_operators), ("torchaudio", remove_library)):
        if importlib.util.find_spec(name) is None or importable(name):
            continue
        repair()
        if not importable(name):
            raise RuntimeError(f'"{name}" cannot be imported; see `{sys.executable} -c "import {name}"`.')


if __name__ == "__main__":
    prepare()
