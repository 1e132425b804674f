"""Files that are either whole or not there."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

from ..errors import RunError

PAUSES = (0.01, 0.03, 0.1, 0.3, 0.6)
"""Seconds to wait for whoever reads the old file, one after another."""


class FileHeld(RunError):
    """A file may not be replaced: on Windows, for as long as somebody else has the old one open."""


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file so that a crash at any moment leaves the old one or the new one, never a half.

    Raises RunError when the disk refuses it (full, read-only), FileHeld when the old file may not be replaced, which is
    then still there.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(partial, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        _replace(partial, path)
    except OSError as error:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        held = isinstance(error, PermissionError)
        way = "close what has it open" if held else "free some space"
        raise (FileHeld if held else RunError)(
            f'"{path}" could not be written ({error.strerror}); {way} or choose another folder, then continue the run.'
        ) from error


def _replace(partial: Path, path: Path) -> None:
    """Put the new file in the place of the old one, which Windows refuses while somebody reads that: a browser that is
    shown a picture, or a virus scanner."""
    for pause in PAUSES:
        try:
            os.replace(partial, path)
            return
        except PermissionError:
            time.sleep(pause)
    os.replace(partial, path)


def write_text(path: Path, content: str) -> None:
    """`write_bytes` for text, in UTF-8."""
    write_bytes(path, content.encode())
