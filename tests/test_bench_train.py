import json

import pytest
import torch

from treegrpo.bench_models import SETTINGS, bench_config
from treegrpo.bench_train import ONE_BY_ONE, bench_train
from treegrpo.errors import UsageError


def run(folder, what, **settings):
    arguments = {"seconds": 0, "prompts_per_iteration": 1, "memory_gb": None, "iterations": 3, "options": {}}
    return bench_train("emoji", [what], **(arguments | settings), out=folder)


def test_methods_are_timed_by_part_at_equal_leaves(tmp_path, capsys):
    result = run(tmp_path, "methods")
    assert json.loads((tmp_path / "emoji.json").read_text()) == json.loads(json.dumps(result))
    rows = {row["name"]: row for row in result["methods"]["rows"]}
    assert list(rows) == ["TreeGRPO", "BranchGRPO", "MixGRPO", "Flow-GRPO-Fast", "DanceGRPO", ONE_BY_ONE]
    # Paper, table of costs: k3 w3 T10 with the window at step 1.
    assert (rows["TreeGRPO"]["evaluations"], rows["TreeGRPO"]["trained_nodes"]) == (176, 13)
    assert (rows["DanceGRPO"]["evaluations"], rows["DanceGRPO"]["trained_nodes"]) == (270, 270)
    assert rows["MixGRPO"]["count_ratio"] == pytest.approx((270 + 3 * 81) / (176 + 3 * 13))
    for row in rows.values():
        assert row["seconds_per_iteration"] == pytest.approx(sum(row["seconds"].values()))
        assert row["leaves_per_second"] == pytest.approx(27 / row["seconds_per_iteration"])
        assert min(row["seconds"].values()) > 0
        assert row["peak_gib"] > 0.1
        assert row["ratio_error"] == 0
    # One at a time is the same iteration: only rounding tells it from batches.
    assert rows[ONE_BY_ONE]["gradient"] < 1e-3
    assert rows["MixGRPO"]["gradient"] is None
    roofline = result["methods"]["roofline"]
    assert 0 < roofline["sampling"] < roofline["possible"]
    assert 0 < roofline["training"] < roofline["possible"]
    assert "DanceGRPO" in capsys.readouterr().out


def test_speed_ups_leave_the_gradient_as_it_is(tmp_path):
    rows = {row["name"]: row for row in run(tmp_path, "switches")["switches"]["rows"]}
    assert rows["graphs of the rollout are not reused"]["gradient"] == 0
    assert rows["prompts encoded anew in every iteration"]["gradient"] == 0
    assert rows["gradient checkpointing"]["gradient"] < 1e-5
    assert rows["scoring while decoding"]["gradient"] < 1e-5  # the reward rounds in batches of another size


def test_memory_is_followed_and_predicted(tmp_path):
    memory = run(tmp_path, "memory")["memory"]
    assert memory["iterations"] == 3
    assert memory["predicted_gib"] > 0
    assert memory["spread"] >= 0


@pytest.mark.parametrize("model", SETTINGS)
def test_models_in_true_size_have_27_leaves(model):
    config = bench_config(model, 2, 4.0, gradient_checkpointing="true")
    assert config.model.gradient_checkpointing is True
    assert (config.train.memory_gb, config.train.prompts_per_iteration) == (4.0, 2)
    assert config.make_plan(0, torch.Generator().manual_seed(0)).leaves == 27


def test_unknown_names_list_the_known_ones(tmp_path):
    with pytest.raises(UsageError, match="emoji, sd15, sdxl, sd35_medium, flux_dev"):
        bench_config("sd16", 1, None)
    with pytest.raises(UsageError, match="memory, methods, switches, compile"):
        run(tmp_path, "speed")
