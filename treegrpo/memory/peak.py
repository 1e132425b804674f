"""Peak memory of a piece of work."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")


@dataclass
class Peak:
    """bytes: the highest use within the context; 0 where the system does not tell."""

    bytes: int = 0


@contextmanager
def peak_memory() -> Iterator[Peak]:
    """Measure the body: allocated GPU memory where there is one, else the process's resident memory (Linux)."""
    peak = Peak()
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        yield peak
        peak.bytes = torch.cuda.max_memory_allocated()
    elif _STATUS.exists():
        _CLEAR.write_text("5", encoding="utf-8")  # resets the high-water mark; see proc(5)
        yield peak
        [line] = [line for line in _STATUS.read_text(encoding="utf-8").splitlines() if line.startswith("VmHWM")]
        peak.bytes = int(line.split()[1]) * 1024
    else:
        yield peak
