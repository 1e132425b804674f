import math
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from treegrpo.bench.student import over_repetitions, quantile, within


def test_quantiles_are_those_of_the_printed_tables():
    table = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 9: 2.262, 30: 2.042, 120: 1.980}
    for degrees, t in table.items():
        assert quantile(degrees) == pytest.approx(t, abs=5e-4)  # half of the last digit that is printed
    assert quantile(4, 0.99) == pytest.approx(4.604, abs=5e-4)


def test_the_distribution_has_its_known_forms():
    # One degree of freedom is Cauchy's distribution; two have an elementary integral.
    for t in (0.1, 1.0, 7.0):
        assert within(t, 1) == pytest.approx(2 / math.pi * math.atan(t))
        assert within(t, 2) == pytest.approx(t / math.sqrt(2 + t * t))


def test_an_interval_by_hand():
    # Mean 2, standard deviation 1, three values: 2 +- 4.3027 / sqrt(3).
    interval = over_repetitions([1.0, 2.0, 3.0])
    assert (interval.mean, interval.low, interval.high) == pytest.approx((2.0, -0.4842, 4.4842), abs=1e-3)


def test_one_repetition_has_no_interval():
    interval = over_repetitions([3.0])
    assert interval.mean == 3.0
    assert math.isnan(interval.low)
    assert math.isnan(interval.high)


@given(st.lists(st.floats(-100, 100), min_size=2, max_size=8), st.floats(-50, 50), st.floats(0.1, 10))
def test_intervals_move_and_stretch_with_the_values(values, shift, scale):
    interval, other = over_repetitions(values), over_repetitions([shift + scale * value for value in values])
    assert interval.low <= interval.mean <= interval.high
    assert interval.mean == pytest.approx(statistics.fmean(values), abs=1e-9)
    for end in ("mean", "low", "high"):
        assert getattr(other, end) == pytest.approx(shift + scale * getattr(interval, end), abs=1e-6)
