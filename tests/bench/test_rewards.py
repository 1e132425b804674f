import json

import pytest

from treegrpo.bench.rewards import bench_rewards
from treegrpo.errors import UsageError


def test_rewards_are_timed_and_those_without_weights_left_out(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("treegrpo.bench.rewards.ENOUGH_SECONDS", 0.01)
    rows = bench_rewards(["jpeg_compressibility", "imagereward"], "cpu", tmp_path, 32, 4, tmp_path)
    [row] = rows
    assert row["reward"] == "jpeg_compressibility"
    assert row["1"] > 10
    assert row["4"] > 10
    assert json.loads((tmp_path / "rewards.json").read_text())["images_per_second"] == rows
    shown = capsys.readouterr().out
    assert "| jpeg_compressibility | " in shown
    assert "imagereward is left out: " in shown
    assert "treegrpo rewards pull imagereward" in shown


def test_unknown_rewards_are_refused(tmp_path):
    with pytest.raises(UsageError, match=r'--reward: "hps" is unknown; choose one of .*hpsv2'):
        bench_rewards(["hps"], "cpu", tmp_path, 32, 4, tmp_path)
    assert not (tmp_path / "rewards.json").exists()
