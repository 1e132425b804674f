import json

import pytest
import torch

from treegrpo import bench
from treegrpo.bench import bench_methods, method_configs


def test_contenders_have_the_same_leaves_and_differ_in_plan_window_and_kernel_only():
    configs = method_configs(branch=3, depth=3, prompts_per_iteration=4)
    for config in configs.values():
        assert config.make_plan(0, torch.Generator().manual_seed(0)).leaves == 27
    first = configs["TreeGRPO"].model_dump(exclude={"plan", "window", "kernel"})
    assert all(config.model_dump(exclude={"plan", "window", "kernel"}) == first for config in configs.values())
    # The paper's count at 27 leaves: 270 evaluations and, every step being trained, 270 training steps.
    cost = configs["DanceGRPO"].make_plan(0, torch.Generator()).cost()
    assert (cost.evaluations, cost.trained_nodes) == (270, 270)


def test_bench_writes_a_row_for_every_method(monkeypatch, tmp_path, capsys):
    config = bench.demo_config("ink")
    few = config.evaluation.model_copy(update={"images_per_prompt": 2})
    monkeypatch.setattr(bench, "demo_config", lambda taste: config.model_copy(update={"evaluation": few}))
    result = bench_methods(seconds=0.5, branch=2, depth=2, prompts_per_iteration=1, out=tmp_path)
    assert json.loads((tmp_path / "methods.json").read_text()) == json.loads(json.dumps(result))
    rows = {row["method"]: row for row in result["methods"]}
    assert set(rows) == {"TreeGRPO", "BranchGRPO", "MixGRPO", "Flow-GRPO", "DanceGRPO"}
    flow = rows["Flow-GRPO"]
    assert flow["evaluations_per_iteration"] == 4 * 10
    assert flow["trained_nodes_per_iteration"] == 4 * 10
    assert flow["cost_per_iteration"] == 4 * (10 + 3 * 10)
    for row in rows.values():
        assert row["iterations"] >= 1
        assert row["seconds_per_iteration"] == pytest.approx(sum(row["seconds"].values()))
        assert row["peak_mib"] > 100
    assert "DanceGRPO" in capsys.readouterr().out
