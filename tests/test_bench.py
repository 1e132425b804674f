import json

import pytest

from treegrpo import variants
from treegrpo.bench import bench_methods


def test_bench_writes_a_row_for_every_method(monkeypatch, tmp_path, capsys):
    config = variants.demo_config("ink")
    few = config.evaluation.model_copy(update={"images_per_prompt": 2})
    monkeypatch.setattr(variants, "demo_config", lambda taste: config.model_copy(update={"evaluation": few}))
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
