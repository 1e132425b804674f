"""ComfyUI's page in another version than the installed one, for the browser tests."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from .fetch import FetchError, comfyui_folder

PACKAGE = "comfyui-frontend-package"


def fetch_frontend(version: str) -> Path:
    """The folder for ComfyUI's --front-end-root; downloaded to the user's cache unless it is there. Raises FetchError.

    version: a release of the package, such as "1.58.1".
    """
    folder = comfyui_folder().with_name(f"frontend-{version}")
    if not folder.exists():
        requirement = f"{PACKAGE}=={version}"
        folder.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=folder.parent) as partial:
            options = ["--quiet", "--disable-pip-version-check", "--no-deps", "--no-compile", "--target", partial]
            if subprocess.run([sys.executable, "-m", "pip", "install", *options, requirement]).returncode != 0:
                raise FetchError(f"pip could not download {requirement}; what it says is above.")
            (Path(partial) / PACKAGE.replace("-", "_") / "static").rename(folder)
    return folder
