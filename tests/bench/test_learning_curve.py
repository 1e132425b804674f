import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treegrpo.bench.learning_curve import band, common, curve_of, folder_of, read_curves, standings
from treegrpo.run.folder import RunFolder


def curve(rewards, seconds=(0.0, 10.0, 20.0), diversity=(1.0, 0.8, 0.6)):
    """Two iterations and 100 evaluations to a point."""
    return curve_of(
        {
            "iteration": 2 * i - 1,
            "seconds": {"grow": 0.75 * second, "update": 0.25 * second},
            "evaluations": 100 * i,
            "work": 130 * i,
            "reward": reward,
            "diversity": diversity[i],
        }
        for i, (reward, second) in enumerate(zip(rewards, seconds, strict=True))
    )


def test_curves_are_straight_between_the_points():
    found = curve([0.0, 1.0, 5.0])
    assert found.at("reward", "seconds", 10) == 1.0
    assert found.at("reward", "seconds", 15) == 3.0
    assert found.at("reward", "evaluations", 150) == 3.0
    assert found.at("reward", "work", 65) == 0.5
    assert found.at("iterations", "seconds", 5) == 1.0
    assert found.length("seconds") == 20.0
    assert found.length("iterations") == 4.0


@given(st.lists(st.floats(-10, 10), min_size=3, max_size=3), st.floats(0, 20))
def test_interpolation_stays_between_its_neighbours(rewards, second):
    left = min(int(second // 10), 1)
    low, high = sorted(rewards[left : left + 2])
    assert low - 1e-9 <= curve(rewards).at("reward", "seconds", second) <= high + 1e-9


def test_the_common_budget_is_where_the_shortest_curve_ends():
    curves = {"a": {0: curve([0, 0, 0]), 1: curve([0, 0, 0], (0.0, 9.0, 18.0))}, "b": {0: curve([0, 0, 0])}}
    assert common(curves, "seconds") == 18.0
    assert common(curves, "evaluations") == 200.0


def test_differences_are_paired_by_seed():
    # The seeds differ by 1, the contenders by 0.5 in each: alone both are uncertain, and their difference is not.
    a = {seed: curve([0.0, 0.0, seed]) for seed in range(3)}
    b = {seed: curve([0.0, 0.0, seed + 0.5]) for seed in range(3)}
    first, second = standings({"a": a, "b": b}, "a", "seconds", 20.0)
    assert (first.contender, first.seeds, first.iterations, first.differences) == ("a", 3, 4.0, {})
    assert first.means["reward"].mean == 1.0
    assert first.means["reward"].high - first.means["reward"].mean == pytest.approx(4.3027 / math.sqrt(3), abs=1e-4)
    difference = second.differences["reward"]
    assert (difference.mean, difference.low, difference.high) == pytest.approx((0.5, 0.5, 0.5))
    assert second.means["diversity"].mean == pytest.approx(0.6)


def test_only_seeds_that_both_have_are_paired():
    a = {seed: curve([0.0, 0.0, seed]) for seed in (0, 1)}
    b = {seed: curve([0.0, 0.0, 3.0 * seed]) for seed in (1, 2)}
    _, second = standings({"a": a, "b": b}, "a", "seconds", 20.0)
    assert second.seeds == 2
    assert second.differences["reward"].mean == 2.0


def test_a_band_goes_as_far_as_all_seeds():
    seeds = {0: curve([0.0, 1.0, 2.0]), 1: curve([0.0, 1.0, 2.0], (0.0, 8.0, 16.0))}
    found = band(seeds, "reward", "seconds")
    assert (found.used[0], found.used[-1]) == (0.0, 16.0)
    assert found.mean[-1] == pytest.approx((1.6 + 2.0) / 2)
    assert all(low <= mean <= high for low, mean, high in zip(found.low, found.mean, found.high, strict=True))


def test_reads_what_is_there_so_far(tmp_path):
    row = {"seconds": {"grow": 1.0}, "evaluations": 5, "work": 8, "reward": 0.25, "diversity": 1.0}
    for seed, count in ((0, 3), (1, 1)):  # the second has only the base model
        with RunFolder(folder_of(tmp_path, "KL 0.1", seed)) as folder:
            for i in range(count):
                folder.append_metrics({"iteration": i - 1, **row})
    curves = read_curves(tmp_path, ["KL 0.1", "k2 w3"], range(3))
    assert {name: list(seeds) for name, seeds in curves.items()} == {"KL 0.1": [0]}
    assert curves["KL 0.1"][0].points["iterations"] == (0.0, 1.0, 2.0)
