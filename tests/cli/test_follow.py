import signal
import sys

import pytest

from treegrpo.cli.follow import follow
from treegrpo.run.report import Report


def reports(count, interrupted_at):
    """So many, and Ctrl-C while one of them is made."""
    for iteration in range(count):
        if iteration == interrupted_at:
            signal.raise_signal(signal.SIGINT)
        yield Report(
            iteration=iteration,
            window=[0, 1],
            reward={"brightness": 0.5},
            spread={"brightness": 0.1},
            correlation={},
            unjudged=0,
            zero_spread=0,
            leaves=4,
            evaluations=8,
            loss=[0.0],
            kl=[0.0],
            ratio_error=[0.0],
            clip_fraction=[0.0],
            grad_norm=[1.0],
            skipped=[],
            seconds={"grow": 1.0},
            heldout=None,
            watched={},
            pace={},
        )


@pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot send Ctrl-C to one process")
@pytest.mark.parametrize(("interrupted_at", "seen", "stopped"), [(None, 3, False), (1, 2, True), (2, 3, False)])
def test_ctrl_c_ends_after_the_iteration_and_leaves_nothing_to_go_on_with_after_the_last(interrupted_at, seen, stopped):
    before = signal.getsignal(signal.SIGINT)
    found, ended = follow(reports(3, interrupted_at), total=3)
    assert [report.iteration for report in found] == list(range(seen))
    assert ended is stopped
    assert signal.getsignal(signal.SIGINT) is before
