import json
import os
import subprocess
import sys

import pytest

from treegrpo.bench.models import bench_config
from treegrpo.bench.train import ONE_BY_ONE, bench_train
from treegrpo.errors import UsageError


def run(folder, what, only=(), **settings):
    arguments = {"seconds": 0, "prompts_per_iteration": 1, "memory_gb": None, "iterations": 3, "options": {}}
    return bench_train("emoji", [what], only, **(arguments | settings), out=folder)


@pytest.mark.long
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


def test_a_table_can_be_of_some_methods_only(tmp_path):
    rows = run(tmp_path, "methods", only=["MixGRPO"])["methods"]["rows"]
    assert [row["name"] for row in rows] == ["TreeGRPO", "MixGRPO"]
    with pytest.raises(UsageError, match=r'--only: "PPO" is unknown.*BranchGRPO.*one at a time'):
        run(tmp_path, "methods", only=["PPO"])


@pytest.mark.long
def test_speed_ups_leave_the_gradient_as_it_is(tmp_path):
    rows = {row["name"]: row for row in run(tmp_path, "switches")["switches"]["rows"]}
    assert rows["graphs of the rollout are not reused"]["gradient"] == 0
    assert rows["prompts encoded anew in every iteration"]["gradient"] == 0
    assert rows["gradient checkpointing"]["gradient"] < 1e-5
    assert rows["scoring while decoding"]["gradient"] < 1e-5  # the reward rounds in batches of another size


@pytest.mark.long
def test_memory_is_followed_and_predicted(tmp_path):
    memory = run(tmp_path, "memory")["memory"]
    assert memory["iterations"] == 3
    assert 0.01 < memory["predicted_gib"] < memory["measured_gib"], "the whole process holds libraries, too"
    # Of the process's pages, too coarse to show a leak; test_memory_plan follows the tensors.
    assert 0 <= memory["spread"] < 0.2


@pytest.mark.long
def test_a_machine_without_a_compiler_says_so_and_measures_the_rest(tmp_path):
    arguments = ("bench", "train", "--what", "compile", "--prompts", "1", "--seconds", "0", "--out", str(tmp_path))
    missing = {**os.environ, "CXX": "/nonexistent/c++", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache")}
    command = [sys.executable, "-m", "treegrpo", *arguments]
    done = subprocess.run(command, env=missing, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "Blocks could not be compiled here: InvalidCxxCompiler" in done.stdout
    assert "InvalidCxxCompiler" in json.loads((tmp_path / "emoji.json").read_text())["compile"]["error"]


def test_what_cannot_be_compared_is_refused_before_a_model_is_loaded(tmp_path):
    with pytest.raises(UsageError, match="--prompts: 9 are more than there are for sd15, 8"):
        bench_train("sd15", [], [], 0, 9, None, 2, {}, tmp_path)
    with pytest.raises(UsageError, match="--option compile"):
        bench_train("sd15", ["compile"], [], 0, 1, None, 2, {"compile": "true"}, tmp_path)


def test_unknown_names_list_the_known_ones(tmp_path):
    with pytest.raises(UsageError, match="emoji, sd15, sdxl, sd35_medium, flux_dev"):
        bench_config("sd16", 1, None)
    with pytest.raises(UsageError, match="memory, methods, switches, compile"):
        run(tmp_path, "speed")
