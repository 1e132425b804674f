import json

import pytest

from tests.small_runs import small_config
from treegrpo.bench.contender import advance
from treegrpo.bench.learning import Budget, bench_learning, measure
from treegrpo.bench.learning_curve import folder_of
from treegrpo.bench.variants import REFERENCE, changed
from treegrpo.errors import UsageError
from treegrpo.run.folder import read_metrics


def two_contenders(folder):
    base = changed(small_config(folder), "evaluation", prompts=["bear", "bell"], images_per_prompt=2)
    return {REFERENCE: base, "MixGRPO": changed(base, "plan", method="mixgrpo", roots=4)}


@pytest.fixture
def configs(tmp_path):
    return two_contenders(tmp_path)


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """Two seeds with two iterations, one after the other as two processes would; nobody may change it."""
    folder = tmp_path_factory.mktemp("measured")
    for seed in (0, 1):
        measure(two_contenders(folder), [seed], Budget("iterations", 2), folder)
    return folder


def rows_without_times(folder):
    return [{key: value for key, value in row.items() if key != "seconds"} for row in read_metrics(folder)]


def test_every_contender_and_seed_is_judged_along_its_budget(measured):
    for name in (REFERENCE, "MixGRPO"):
        for seed in (0, 1):
            rows = read_metrics(folder_of(measured, name, seed))
            assert [row["iteration"] for row in rows] == [-1, 0, 1]
            assert rows[0]["seconds"] == {}
            assert set(rows[1]["seconds"]) == {"grow", "decode", "score", "update"}
            assert rows[0]["reward"] != rows[2]["reward"]
    flat = read_metrics(folder_of(measured, "MixGRPO", 0))[-1]
    # Two iterations of two prompts with 4 rollouts of 4 steps, 2 of them trained.
    assert (flat["evaluations"], flat["trained_nodes"]) == (2 * 2 * 4 * 4, 2 * 2 * 4 * 2)
    assert flat["work"] == flat["evaluations"] + 3 * flat["trained_nodes"]
    # All start at the base model, whatever the seed; training is the seed's own.
    first, second = (read_metrics(folder_of(measured, REFERENCE, seed)) for seed in (0, 1))
    assert first[0] == second[0]
    assert first[-1]["reward"] != second[-1]["reward"]


@pytest.mark.long
def test_a_stopped_measurement_goes_on_as_if_it_had_not_been(configs, measured, tmp_path):
    measure(configs, [0], Budget("iterations", 1), tmp_path)
    folder = folder_of(tmp_path, REFERENCE, 0)
    stray = {**read_metrics(folder)[-1], "iteration": 1, "reward": -1.0}
    with open(folder / "metrics.jsonl", "a") as file:  # killed after the line of a judgement and before its state
        file.write(json.dumps(stray) + "\n" + '{"iteration": 2, "rew')
    for _ in range(2):  # the second finds nothing left to do
        measure(configs, [0], Budget("iterations", 2), tmp_path)
        for name in configs:
            whole, cut = (rows_without_times(folder_of(each, name, 0)) for each in (measured, tmp_path))
            assert whole == cut


@pytest.mark.long
def test_contenders_and_seeds_do_not_touch_each_other(configs, measured, tmp_path, capsys):
    measure({"MixGRPO": configs["MixGRPO"]}, [0, 1], Budget("iterations", 2), tmp_path)
    for seed in (0, 1):
        both, alone = (rows_without_times(folder_of(each, "MixGRPO", seed)) for each in (measured, tmp_path))
        assert both == alone
    assert "seed 1, MixGRPO: 2 iterations" in capsys.readouterr().out


def test_whoever_has_used_the_least_is_next(configs, tmp_path, monkeypatch):
    turns = []

    def noted(contender, *rest):
        turns.append(contender.name)
        return advance(contender, *rest)

    monkeypatch.setattr("treegrpo.bench.learning.advance", noted)
    measure(configs, [0], Budget("iterations", 3), tmp_path)
    warming, racing = turns[:2], turns[2:]
    assert warming == [REFERENCE, "MixGRPO"]
    assert racing == [REFERENCE, "MixGRPO"] * 3


@pytest.mark.long
def test_time_is_shared_equally_and_judging_is_free(configs, tmp_path):
    measure(configs, [0], Budget("seconds", 1.0), tmp_path)
    rows = {name: read_metrics(folder_of(tmp_path, name, 0)) for name in configs}
    for judged in rows.values():
        totals = [sum(row["seconds"].values()) for row in judged]
        assert totals == sorted(totals)
        assert totals[-2] < 1.0 <= totals[-1], "trained on after the budget, or not to its end"
        assert 2 <= len(judged) <= 9
        assert all(set(row["seconds"]) == {"grow", "decode", "score", "update"} for row in judged[1:])


def test_results_of_other_settings_are_not_mixed(configs, tmp_path):
    measure({REFERENCE: configs[REFERENCE]}, [0], Budget("iterations", 1), tmp_path)
    other = changed(configs[REFERENCE], "update", learning_rate=0.5)
    with pytest.raises(UsageError, match=r"measured with update\.learning_rate = 0\.\d+ and is to go on with 0\.5"):
        measure({REFERENCE: other}, [0], Budget("iterations", 1), tmp_path)


def test_summarises_the_group_that_is_asked_for(measured, capsys):
    result = bench_learning("methods", [], [0, 1], None, measured)
    assert list(result["groups"]) == ["methods"]
    assert "| MixGRPO | 2 | 2 |" in capsys.readouterr().out


def test_one_contender_alone_leaves_what_was_compared(measured, capsys):
    bench_learning("methods", [], [0, 1], None, measured)
    before = (measured / "learning.json").read_text()
    assert bench_learning("methods", [REFERENCE], [0, 1], None, measured) == {}
    assert (measured / "learning.json").read_text() == before


def test_unknown_groups_and_contenders_are_refused(tmp_path):
    with pytest.raises(UsageError, match="methods, ablations, rates, all"):
        bench_learning("everything", [], range(2), None, tmp_path)
    with pytest.raises(UsageError, match="weighting steps"):
        bench_learning("ablations", ["weighting"], range(2), None, tmp_path)
