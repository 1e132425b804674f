"""Window schedules: the published probabilities and positions, what is drawn, and every refusal."""

from collections import Counter
from itertools import pairwise
from math import sqrt

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from treegrpo.errors import UsageError
from treegrpo.method.plan import preset
from treegrpo.method.window import SCHEDULES, choose, consecutive, geometric, shifting, starts, uniform


def draw(schedule, seed=0, steps=10, depth=3, iteration=0, **rest):
    generator = torch.Generator().manual_seed(seed)
    return choose(schedule, steps=steps, depth=depth, iteration=iteration, generator=generator, **rest)


def test_published_geometric_probabilities():
    printed = [0.5039, 0.2520, 0.1260, 0.0630, 0.0315, 0.0157, 0.0079]
    assert geometric(10, 3) == pytest.approx(printed, abs=0.00005)  # half of the last printed digit


def test_published_expected_evaluations():
    plans = [preset("treegrpo", steps=10, branch=3, window=consecutive(i, 3, 10), roots=1) for i in starts(10, 3)]
    expected = sum(p * plan.cost().evaluations for p, plan in zip(geometric(10, 3), plans, strict=True))
    assert expected == pytest.approx(177.4, abs=0.05)  # half of the last printed digit


windows = st.integers(2, 40).flatmap(lambda steps: st.tuples(st.just(steps), st.integers(1, steps - 1)))


@given(windows, st.floats(0.05, 0.95))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_probabilities_sum_to_one_and_fall_by_the_ratio(window, ratio):
    chances = geometric(*window, ratio)
    assert len(chances) == len(starts(*window)) == window[0] - window[1]
    assert sum(chances) == pytest.approx(1, rel=1e-12)  # at most 40 roundings of 1e-16
    assert [b / a for a, b in pairwise(chances)] == pytest.approx([ratio] * (len(chances) - 1), rel=1e-12)
    assert uniform(*window) == [1 / len(chances)] * len(chances)


@given(windows, st.integers(0, 2000), st.integers(1, 60))
@settings(max_examples=60, deadline=None, derandomize=True)
def test_shifting_moves_by_one_and_wraps(window, iteration, every):
    here = shifting(*window, iteration, every)
    assert here in starts(*window)
    assert shifting(*window, iteration + every, every) == (here + 1) % len(starts(*window))
    block = iteration - iteration % every
    assert shifting(*window, block, every) == shifting(*window, block + every - 1, every) == here


def test_shifting_of_the_released_code():
    assert [shifting(10, 4, iteration) for iteration in (0, 49, 50, 99, 100, 299, 300)] == [0, 0, 1, 1, 2, 5, 0]
    assert draw("shifting", depth=4, iteration=120) == (2, 3, 4, 5)
    assert draw("shifting", depth=4, iteration=6, every=2) == (3, 4, 5, 6)


@pytest.mark.parametrize(("schedule", "chances"), [("geometric", geometric(10, 3)), ("uniform", uniform(10, 3))])
def test_drawn_windows_follow_their_probabilities(schedule, chances):
    generator, draws = torch.Generator().manual_seed(1), 2000
    seen = Counter(choose(schedule, steps=10, depth=3, iteration=0, generator=generator) for _ in range(draws))
    assert set(seen) <= {consecutive(i, 3, 10) for i in starts(10, 3)}
    for i, chance in enumerate(chances):
        spread = sqrt(draws * chance * (1 - chance))
        assert abs(seen[consecutive(i, 3, 10)] - draws * chance) < 4 * spread  # 4 standard deviations of a binomial


def test_ratio_reaches_the_geometric_draw():
    late = [draw("geometric", seed, ratio=0.999)[0] for seed in range(60)]
    early = [draw("geometric", seed, ratio=0.001)[0] for seed in range(60)]
    assert len(set(late)) > 4
    assert set(early) == {0}


@pytest.mark.parametrize("schedule", ["geometric", "uniform"])
def test_drawing_repeats_with_the_seed(schedule):
    assert [draw(schedule, seed) for seed in range(20)] == [draw(schedule, seed) for seed in range(20)]


def test_fixed_and_listed_windows():
    assert draw("fixed") == (0, 1, 2)
    assert draw("fixed", start=7) == (7, 8, 9)
    assert draw("list", at=[6, 0, 3, 3]) == (0, 3, 6)


REFUSALS = {
    "unknown schedule": (lambda: draw("cosine"), ['window.schedule: "cosine" is unknown', *SCHEDULES]),
    "empty list": (lambda: draw("list"), ["window.at", "at least one step"]),
    "fixed past the last step": (lambda: draw("fixed", start=8), ["steps 8 to 10", "10 denoising steps", "0 to 9"]),
    "negative start": (lambda: consecutive(-1, 3, 10), ["steps -1 to 1"]),
    "no depth": (lambda: starts(10, 0), ["window of 0 steps", "depth from 1 to 9"]),
    "no start fits": (lambda: draw("geometric", depth=10), ["window of 10 steps", "depth from 1 to 9"]),
    "deeper than the rollout": (lambda: draw("shifting", depth=12), ["window of 12 steps", "depth from 1 to 9"]),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_refusals_say_what_is_wrong(case):
    build, words = REFUSALS[case]
    with pytest.raises(UsageError) as refusal:
        build()
    for word in words:
        assert word in str(refusal.value)
