"""Disks that are full, for this process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def disk_that_takes(size: int) -> Iterator[None]:
    """The operating system refuses files above `size` bytes, as a full disk would (Unix)."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def full_disk_at(file: Path) -> Iterator[None]:
    """The disk is full whenever `file` is to be written, and has room for everything else (Linux)."""
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    appended = file.suffix == ".jsonl"
    target = file if appended else file.with_name(f".{file.name}.partial")
    kept = file.read_bytes() if appended else b""
    target.parent.mkdir(exist_ok=True)
    target.unlink(missing_ok=True)
    target.symlink_to("/dev/full")
    try:
        yield
    finally:
        target.unlink(missing_ok=True)
        if appended:
            file.write_bytes(kept)
