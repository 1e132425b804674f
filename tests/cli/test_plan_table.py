import pytest

from treegrpo.cli.plan_table import plan_costs, print_costs
from treegrpo.training.config import PlanTable, WindowTable

PLAN = PlanTable().model_dump()
"""k3 w3 T10: windows at 0 to 6 take 202, 176, ... 46 evaluations, 26 less for each step that they come later."""


@pytest.mark.parametrize(
    ("window", "words", "mean"),
    [
        ({}, "(geometric, ratio = 0.5)", "177.4"),  # as the paper has it
        ({"ratio": 0.9}, "(geometric, ratio = 0.9)", "134.9"),
        ({"schedule": "uniform"}, "(uniform)", "124.0"),
        ({"schedule": "shifting", "every": 6}, "(shifting, a full round of 42 iterations)", "124.0"),
    ],
)
def test_the_mean_is_over_the_schedule_that_is_used(window, words, mean, capsys):
    rows = plan_costs(PLAN, window=WindowTable(**window))
    assert [row["evaluations"] for row in rows] == [202, 176, 150, 124, 98, 72, 46]
    assert sum(row["probability"] for row in rows) == pytest.approx(1)
    print_costs(rows)
    assert f"Mean over the window's schedule {words}: {mean} evaluations." in capsys.readouterr().out


@pytest.mark.parametrize(
    ("plan", "window", "start"),
    [
        ({}, {"schedule": "fixed", "start": 2}, 2),
        ({}, {"schedule": "list", "at": [0, 3, 6]}, None),
        ({"method": "branchgrpo"}, {}, None),
        ({"method": "dance_grpo", "roots": 27}, {}, None),
    ],
)
def test_a_window_that_stays_has_one_row_and_no_mean(plan, window, start, capsys):
    [row] = plan_costs(PLAN | plan, window=WindowTable(**window))
    assert (row["start"], row["leaves"]) == (start, 27)
    assert "probability" not in row
    print_costs([row])
    assert "Mean" not in capsys.readouterr().out


def test_a_place_that_is_asked_for_goes_before_the_schedule():
    window = WindowTable(schedule="uniform")
    [first] = plan_costs(PLAN, start=1, window=window)
    [several] = plan_costs(PLAN, at=[0, 3, 6], window=window)
    assert (first["evaluations"], several["evaluations"]) == (176, 3 * 3 + 3 * 9 + 3 * 27 + 1)
