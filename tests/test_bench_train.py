import json

import pytest
import torch

from tests.backends.test_families import PROMPTS, SIZES, STEPS, open_tiny
from tests.conftest import open_policy
from treegrpo.assemble import build_rewards
from treegrpo.backends.diffusers import Economy
from treegrpo.bench_models import SETTINGS, bench_config
from treegrpo.bench_train import ONE_BY_ONE, bench_train
from treegrpo.config import Config, make_table
from treegrpo.errors import UsageError
from treegrpo.switches import switches
from treegrpo.timing import Bench, row_of
from treegrpo.variants import changed


def run(folder, what, **settings):
    arguments = {"seconds": 0, "prompts_per_iteration": 1, "memory_gb": None, "iterations": 3, "options": {}}
    return bench_train("emoji", [what], **(arguments | settings), out=folder)


def test_methods_are_timed_by_part_at_equal_leaves(tmp_path, capsys):
    result = run(tmp_path, "methods")
    assert json.loads((tmp_path / "emoji.json").read_text()) == json.loads(json.dumps(result))
    rows = {row["name"]: row for row in result["methods"]["rows"]}
    assert list(rows) == ["TreeGRPO", "BranchGRPO", "MixGRPO", "Flow-GRPO-Fast", "DanceGRPO", ONE_BY_ONE]
    # Paper, table of costs: k3 w3 T10 with the window at step 1. Counted while they ran.
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
    assert 0.01 < memory["predicted_gib"] < memory["measured_gib"], "the whole process holds libraries, too"
    assert 0 <= memory["spread"] < 0.2


def test_steps_without_noise_do_not_count_as_trained():
    """On a VE path methods with every step stochastic go by ddim, which has no noise on the way to sigma 0."""
    policy = open_tiny("sd15")
    config = make_table(
        Config,
        model={"path": "tiny"},
        plan={"steps": STEPS, "method": "flow_grpo", "roots": 2},
        kernel={"name": "ddim"},
        rewards=[{"name": "jpeg_compressibility"}],
        train={"prompts": PROMPTS, "prompts_per_iteration": len(PROMPTS)},
    )
    bench = Bench(policy, build_rewards(config.rewards), PROMPTS, config, SIZES)
    timed = bench.timed("flat", config)
    bench.rounds([timed], 0)
    row = row_of(timed, timed)
    assert row["evaluations"] == 2 * STEPS * len(PROMPTS)
    assert row["trained_nodes"] == 2 * (STEPS - 1) * len(PROMPTS)
    assert row["leaves_per_second"] == pytest.approx(2 * len(PROMPTS) / row["seconds_per_iteration"])


def test_a_first_gradient_that_is_not_finite_leaves_the_rows(tmp_path):
    policy = open_policy()
    config = bench_config("emoji", 1, None)
    bench = Bench(policy, build_rewards(config.rewards), ["bear"], config, SIZES)
    first, second = bench.timed("first", config), bench.timed("second", config)
    bench.rounds([first, second], 0)
    first.first_norm = None
    assert row_of(second, first)["gradient"] is None
    assert row_of(first, second)["gradient"] is None


def test_switches_that_a_run_has_already_are_left_out():
    config = bench_config("emoji", 1, None, gradient_checkpointing=True)
    config = changed(config, "train", reuse_graphs=False)
    policy = open_policy(guidance=2.0, economy=Economy(gradient_checkpointing=True, fused_guidance=False))
    names = [timed.name for timed in switches(Bench(policy, [], PROMPTS, config, SIZES))]
    assert names == [
        "as it comes",
        "prompts encoded anew in every iteration",
        "scoring while decoding",
        "trained without guidance",
    ]


def test_what_cannot_be_compared_is_refused_before_a_model_is_loaded(tmp_path):
    with pytest.raises(UsageError, match="--prompts: 9 are more than there are for sd15, 8"):
        bench_train("sd15", [], 0, 9, None, 2, {}, tmp_path)
    with pytest.raises(UsageError, match="--option compile"):
        bench_train("sd15", ["compile"], 0, 1, None, 2, {"compile": "true"}, tmp_path)


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
