import json

import pytest

from treegrpo.bench.learning_curve import folder_of
from treegrpo.bench.learning_summary import MOST_CURVES, summarise
from treegrpo.bench.variants import REFERENCE
from treegrpo.errors import UsageError
from treegrpo.pictures.image_file import read_image
from treegrpo.run.folder import RunFolder

GROUPS = {
    "methods": [REFERENCE, "MixGRPO"],
    "ablations": [REFERENCE, *(f"KL {weight}" for weight in range(MOST_CURVES))],
}


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """Two seeds, four judgements each: rewards rise by what the seed and the contender's place say."""
    out = tmp_path_factory.mktemp("measured")
    names = list(dict.fromkeys(name for group in GROUPS.values() for name in group))
    for place, name in enumerate(names):
        for seed in (0, 1):
            with RunFolder(folder_of(out, name, seed)) as folder:
                folder.save_config({"machine": {"device": "abacus", "threads": 1, "torch": "2"}})
                for i in range(4):
                    folder.append_metrics(
                        {
                            "iteration": i - 1,
                            "seconds": {"grow": 2.0 * i, "update": 1.0 * i},
                            "evaluations": 100 * i,
                            "work": 200 * i,
                            "reward": 0.5 + 0.01 * i * (1 + seed + place * (1 + seed)),
                            "diversity": 0.6 - 0.01 * i * place,
                        }
                    )
    return out


def test_leaves_tables_figures_and_json(measured, capsys):
    result = summarise(GROUPS, [0, 1], measured)
    assert json.loads((measured / "learning.json").read_text()) == result
    assert result["machines"] == [{"device": "abacus", "threads": 1, "torch": "2"}]
    found = result["groups"]["methods"]["seconds"]
    assert found["amount"] == 9.0
    tree, flat = found["contenders"]
    assert tree["reward"]["mean"] == pytest.approx(0.545)  # of 0.53 and 0.56
    assert flat["differences"]["reward"]["mean"] == pytest.approx(0.045)  # of 0.03 and 0.06
    # Two seeds, one degree of freedom: 12.706 standard errors of 0.015.
    assert flat["differences"]["reward"]["low"] == pytest.approx(0.045 - 12.706 * 0.015, abs=1e-4)
    assert flat["differences"]["diversity"]["mean"] == pytest.approx(-0.03)
    out = capsys.readouterr().out
    assert "After 9 seconds of training" in out
    assert "| MixGRPO | 2 | 3 | 0.590 [0.209, 0.971] | +0.045 [-0.146, +0.236] | 0.570" in out


def test_draws_curves_of_as_many_as_can_be_told_apart(measured):
    summarise(GROUPS, [0, 1], measured)
    for name in ("methods-curves.png", "methods-differences.png", "ablations-differences.png"):
        assert read_image(measured / name).std() > 0.05, f"{name} is blank"
    assert not (measured / "ablations-curves.png").exists()


def test_one_seed_is_summarised_without_intervals(measured):
    result = summarise(GROUPS, [1], measured)
    assert result["groups"]["methods"]["seconds"]["contenders"][1]["differences"]["reward"]["low"] is None
    assert read_image(measured / "methods-differences.png").std() > 0.05


def test_needs_what_all_are_compared_with(tmp_path):
    with pytest.raises(UsageError, match="no curve of TreeGRPO"):
        summarise(GROUPS, [0], tmp_path)
