"""Optional TensorBoard logging."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from ..errors import UsageError
from .report import Report


def open_board(folder: Path) -> Callable[[Iterable[Report]], Iterator[Report]]:
    """A function that passes reports through and logs them under folder/tensorboard.

    Raises UsageError when TensorBoard is not installed.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise UsageError(
            "train.tensorboard: TensorBoard is not installed; pip install tensorboard, or set it to false."
        ) from error

    def log(reports: Iterable[Report]) -> Iterator[Report]:
        with SummaryWriter(folder / "tensorboard") as writer:
            for report in reports:
                for kind in ("reward", "spread", "correlation", "watched"):
                    for name, value in getattr(report, kind).items():
                        if value is not None:
                            writer.add_scalar(f"{kind}/{name}", value, report.iteration)
                if report.grad_norm[-1] is not None:
                    writer.add_scalar("update/grad_norm", report.grad_norm[-1], report.iteration)
                if report.heldout is not None:
                    writer.add_scalar("heldout/trained", report.heldout, report.iteration)
                writer.flush()
                yield report

    return log
