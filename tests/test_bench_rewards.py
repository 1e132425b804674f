import json

from treegrpo.bench_rewards import bench_rewards


def test_rewards_are_timed_and_those_without_weights_left_out(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("treegrpo.bench_rewards.ENOUGH_SECONDS", 0.01)
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
