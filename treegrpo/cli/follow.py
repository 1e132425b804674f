"""What a person sees in the terminal while a run goes on, and how Ctrl-C stops it."""

from __future__ import annotations

import signal
from collections.abc import Iterable
from types import FrameType

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from ..console import console
from ..method.ranks import ALONE, Ranks
from ..run.report import Report

LINES = 12
"""About how many lines of figures a whole run prints."""


class Interrupt:
    """Turns the first Ctrl-C into a wish to stop after this iteration; the second one stops at once."""

    def __init__(self) -> None:
        self.wanted = False

    def __enter__(self) -> Interrupt:
        self._previous = signal.signal(signal.SIGINT, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self._previous)

    def _note(self, _signal: int, _frame: FrameType | None) -> None:
        if self.wanted:
            raise KeyboardInterrupt
        self.wanted = True
        console.print("Stopping after this iteration; press Ctrl-C again to stop at once.")


def follow(reports: Iterable[Report], total: int, ranks: Ranks = ALONE) -> tuple[list[Report], bool]:
    """Show progress until the reports end or Ctrl-C asks any of the ranks to stop, which then all do.

    Returns the reports, and whether it was stopped with iterations left to run.
    """
    seen: list[Report] = []
    every = max(1, total // LINES)
    columns = (TextColumn("training"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    console.print(HEADER, style="bold")
    with Interrupt() as interrupt, Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("training", total=total)
        for report in reports:
            seen.append(report)
            progress.update(task, completed=report.iteration + 1)
            for sentence in report.skipped:
                console.print(f"iteration {report.iteration + 1}: {sentence}", style="yellow")
            if report.iteration % every == 0 or report.iteration + 1 == total:
                console.print(line(report), soft_wrap=True)
            if any(ranks.gather(interrupt.wanted)):
                return seen, report.iteration + 1 < total
    return seen, False


HEADER = (
    f"{'iteration':>9}  {'window':<8}  {'reward':>9}  {'spread':>7}  "
    f"{'|ratio-1|':>9}  {'grad norm':>9}  {'images/s':>8}"
)


def line(report: Report) -> str:
    """One row of figures: reward and spread are summed over the rewards."""
    reward, spread = (sum(filter(None, values.values())) for values in (report.reward, report.spread))
    norm = report.grad_norm[-1]
    window = f"{report.window[0]}-{report.window[-1]}"
    rate = report.leaves / sum(report.seconds.values())
    heldout = "" if report.heldout is None else f"   held-out {report.heldout:.4f}"
    heldout += "".join(f"   watched {name} {mark:.4f}" for name, mark in report.watched.items() if mark is not None)
    return (
        f"{report.iteration + 1:>9}  {window:<8}  {reward:>9.4f}  {spread:>7.4f}  {report.ratio_error[0]:>9.1e}  "
        f"{'-' if norm is None else format(norm, '.2e'):>9}  {rate:>8.1f}{heldout}"
    )
