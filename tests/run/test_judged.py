"""When a run stops early, and what it says then."""

import pytest

from treegrpo.run.judged import Judged


def after_all(*marks):
    """What evaluations (held-out, watched) come to, one after each iteration."""
    judged = Judged()
    for number, (heldout, watched) in enumerate(marks, 1):
        judged = judged.after(number, heldout, watched)
    return judged


def test_without_watched_rewards_patience_waits_for_a_new_best():
    assert after_all((0.1, None), (0.3, None), (0.2, None), (0.3, None)).stale == 2
    judged = after_all((0.3, None), (0.2, None), (0.4, None))
    assert (judged.stale, judged.best_heldout, judged.best_iterations) == (0, 0.4, 3)


@pytest.mark.parametrize(
    ("later", "stale"),
    [
        ([(0.5, 0.4)], 1),  # trained up, watched down: hacking
        ([(0.5, 0.4), (0.6, 0.3)], 2),
        ([(0.5, 0.4), (0.45, 0.45)], 2),  # below and above the best, whatever came in between
        ([(0.3, 0.4)], 0),  # both down: the run is worse, but nothing is hacked
        ([(0.5, 0.4), (0.3, 0.4), (0.5, 0.4)], 1),  # only in a row
        ([(0.5, 0.5)], 0),  # as good as the best is not below it
        ([(0.4, 0.4)], 0),  # nor is what is trained above its value
        ([(0.5, 0.4), (0.6, 0.6)], 0),  # a new best
    ],
)
def test_with_watched_rewards_patience_is_tried_by_reward_hacking(later, stale):
    assert after_all((0.4, 0.5), *later).stale == stale


def test_the_best_is_what_the_watched_rewards_like_most():
    judged = after_all((0.4, 0.5), (0.3, 0.6), (0.9, 0.2))
    assert judged == Judged(best_heldout=0.3, best_watched=0.6, best_iterations=2, heldout=0.9, watched=0.2, stale=1)


def test_rewards_that_begin_to_be_watched_begin_anew():
    """The state of a run from before rewards were watched knows a best held-out reward alone."""
    assert Judged(best_heldout=0.9, stale=3).after(7, 0.4, 0.5) == Judged(0.4, 0.5, 7, 0.4, 0.5, 0)


def test_patience_and_its_sentence():
    judged = after_all((0.4, 0.52), (0.45, 0.5), (0.5, 0.49), (0.55, 0.48))
    assert [judged.out_of(patience) for patience in (0, 2, 3, 4)] == [False, True, True, False]
    assert judged.reason("best.safetensors") == (
        "Stopped: the watched reward fell from 0.5200 to 0.4800 in 3 evaluations while the trained one rose from "
        "0.4000 to 0.5500; the LoRA of the best evaluation, at iteration 1, is best.safetensors."
    )
    assert after_all((0.4, None), (0.3, None)).reason("b") == (
        "Stopped: the held-out reward has not risen above 0.4000 in 1 evaluation; the LoRA of the best evaluation, "
        "at iteration 1, is b."
    )
    older = Judged(best_heldout=0.4, stale=2)
    assert older.reason("b") == "Stopped: the held-out reward has not risen above 0.4000 in 2 evaluations."
