import sys

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.small_runs import small_config
from tests.training.test_trainer import PROMPTS, policy_for
from treegrpo.errors import UsageError
from treegrpo.rewards.clipscore import ClipScore
from treegrpo.rewards.jpeg import JpegCompressibility, JpegIncompressibility
from treegrpo.run.folder import RunFolder
from treegrpo.run.metrics_board import open_board
from treegrpo.training.trainer import train


def test_logs_what_the_reports_say(tmp_path):
    config = small_config(tmp_path, iterations=2)
    config = config.model_copy(update={"evaluation": config.evaluation.model_copy(update={"every": 2})})
    rewards, watched = [(JpegCompressibility(), 1.0), (JpegIncompressibility(), 0.5)], [(ClipScore(), 1.0)]
    with RunFolder(tmp_path / "run") as folder:
        reports = train(policy_for(config), rewards, config, folder, PROMPTS, ["bell"], watched)
        logged_reports = list(open_board(tmp_path)(reports))
    rewards = [report.reward["jpeg_compressibility"] for report in logged_reports]
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    logged = events.Scalars("reward/jpeg_compressibility")
    assert [(event.step, event.value) for event in logged] == [
        (0, pytest.approx(rewards[0])),
        (1, pytest.approx(rewards[1])),
    ]
    last = logged_reports[-1]
    for tag, value in {
        "heldout/trained": last.heldout,
        "watched/clipscore": last.watched["clipscore"],
        "correlation/jpeg_compressibility ~ jpeg_incompressibility": -1.0,
    }.items():
        event = events.Scalars(tag)[-1]
        assert (event.step, event.value) == (1, pytest.approx(value))


def test_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UsageError, match="pip install"):
        open_board(tmp_path)
