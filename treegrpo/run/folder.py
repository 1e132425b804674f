"""The run folder: everything that a run leaves behind, and all that it needs to go on.

config.json, lora.safetensors, best.safetensors (the LoRA of the best evaluation), state.safetensors, metrics.jsonl,
trees/, samples/. Every file is written whole or not at all (metrics.jsonl: every line but a last one), and
state.safetensors is written last: it is what makes an iteration count.
"""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

import safetensors
from filelock import FileLock, Timeout
from safetensors.torch import save
from torch import Tensor

from ..errors import RunError, UsageError
from .atomic import write_bytes, write_text

LOCK = ".lock"
METRICS = "metrics.jsonl"
PATIENCE = 1.0
"""Seconds to wait for the lock: somebody may just be looking whether it is held."""
LOOKING = threading.Lock()
"""Two that look at the same moment would take each other for a run."""


def is_running(path: Path) -> bool:
    """Whether a process holds the run in this folder."""
    if not (path / LOCK).exists():
        return False
    try:
        with LOOKING, FileLock(path / LOCK, timeout=0):
            return False
    except Timeout:
        return True
    except OSError:  # a folder that cannot be written to, or is being deleted
        return False


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of metrics.jsonl in a run folder; a last line that a crash cut short does not count.

    Holds no lock: a run may be going on.
    """
    file = path / METRICS
    if not file.exists():
        return []
    rows = []
    for line in file.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows


class RunFolder:
    """One run's folder, held by one process at a time; use it as a context manager.

    Raises UsageError when another process holds it, or when it holds a run and `resume` was not asked for.
    """

    def __init__(self, path: Path, resume: bool = False) -> None:
        self.path = path
        self.state_file = path / "state.safetensors"
        self.metrics_file = path / METRICS
        self.lora_file = path / "lora.safetensors"
        self.best_file = path / "best.safetensors"
        if self.state_file.exists() and not resume:
            raise UsageError(
                f'run: "{path}" already holds one; continue it with --resume, or choose another with --out.'
            )
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._lock = FileLock(path / LOCK, timeout=PATIENCE)
            self._lock.acquire()
        except Timeout as error:
            raise UsageError(f'run: "{path}" is in use; wait until that run has ended, or choose another.') from error
        except OSError as error:
            raise UsageError(
                f'run: "{path}" cannot be written to ({error.strerror}); choose another folder.'
            ) from error

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def save_config(self, config: dict[str, Any]) -> None:
        """Write config.json."""
        write_text(self.path / "config.json", json.dumps(config, indent=2) + "\n")

    def load_config(self) -> dict[str, Any] | None:
        """The configuration of the run that is here, if one is."""
        file = self.path / "config.json"
        return json.loads(file.read_text(encoding="utf-8")) if file.exists() else None

    def save_state(self, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
        """Write state.safetensors; the facts travel in its header, so that they can never disagree with it."""
        write_bytes(self.state_file, save(tensors, metadata={"treegrpo": json.dumps(facts)}))

    def load_state(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """What save_state wrote, if anything. Raises RunError for a file that is not one."""
        if not self.state_file.exists():
            return None
        try:
            with safetensors.safe_open(self.state_file, framework="pt") as file:
                facts = json.loads(file.metadata()["treegrpo"])
                # Copies: tensors of a mapped file would keep it open, and Windows replaces no file that is.
                return {name: file.get_tensor(name).clone() for name in file.keys()}, facts
        except (safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
            raise RunError(f'"{self.state_file}" is damaged ({error}); start again in another folder.') from error

    def append_metrics(self, row: dict[str, Any]) -> None:
        """Add the line of one iteration to metrics.jsonl. Raises RunError when the disk refuses it."""
        try:
            with open(self.metrics_file, "a", encoding="utf-8", newline="\n") as file:
                file.write(json.dumps(row) + "\n")
                file.flush()
                os.fsync(file.fileno())  # the state that counts this iteration must not outlive its line
        except OSError as error:
            raise RunError(
                f'"{self.metrics_file}" could not be written ({error.strerror}); free some space, '
                "then continue the run."
            ) from error

    def metrics(self) -> list[dict[str, Any]]:
        """The lines of metrics.jsonl, see read_metrics."""
        return read_metrics(self.path)

    def forget_after(self, iterations: int) -> None:
        """Drop the metrics of iterations that were not completed, before they are run again."""
        kept = [row for row in self.metrics() if row["iteration"] < iterations]
        write_text(self.metrics_file, "".join(json.dumps(row) + "\n" for row in kept))
