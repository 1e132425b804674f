import json
from dataclasses import replace

import pytest
import torch

from tests.conftest import SIZES
from treegrpo.bundled import TRAIN_PROMPTS
from treegrpo.cli import demo
from treegrpo.errors import UsageError
from treegrpo.method.sample import decode, sample
from treegrpo.pictures.image_file import read_image
from treegrpo.rewards.clipscore import ClipScore
from treegrpo.training.config_file import read_prompts
from treegrpo.training.evaluation import Evaluation


def shorten(monkeypatch, **update):
    """Let the demo run two small iterations with few pictures to judge."""
    whole = demo.demo_config

    def short(taste):
        config = whole(taste)
        return config.model_copy(
            update={
                "train": config.train.model_copy(update={"iterations": 2, "prompts_per_iteration": 2}),
                "plan": config.plan.model_copy(update={"branch": 2, "depth": 2}),
                "evaluation": config.evaluation.model_copy(update={"images_per_prompt": 2}),
                "update": config.update.model_copy(update=update),
            }
        )

    monkeypatch.setattr(demo, "demo_config", short)


def test_leaves_lora_pictures_and_figures(monkeypatch, tmp_path, capsys):
    shorten(monkeypatch)
    demo.run_demo("flat", tmp_path / "demo")
    out = capsys.readouterr().out
    for words in ("flat style", "held-out prompts", "training prompts", "diversity"):
        assert words in out
    for name in ("before-after.png", "reward-curve.png", "tree.png"):
        assert read_image(tmp_path / "demo" / name).std() > 0.05, f"{name} is blank"
    assert (tmp_path / "demo" / "tree.svg").read_text().startswith("<?xml")
    assert (tmp_path / "demo" / "lora.safetensors").exists()
    result = json.loads((tmp_path / "demo" / "result.json").read_text())
    assert result["taste"] == "flat"
    assert result["held-out"]["before"]["low"] <= result["held-out"]["before"]["mean"]


def test_an_improvement_that_is_not_significant_is_a_failure(monkeypatch, tmp_path, capsys):
    shorten(monkeypatch, learning_rate=1e-12)
    assert not demo.run_demo("ink", tmp_path / "demo")
    assert "not significant" in capsys.readouterr().out


def test_a_second_demo_takes_a_new_folder(monkeypatch, tmp_path):
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "state.safetensors").write_bytes(b"mine")
    shorten(monkeypatch)
    demo.run_demo("ink", tmp_path / "demo")
    assert (tmp_path / "demo" / "state.safetensors").read_bytes() == b"mine"
    assert (tmp_path / "demo-2" / "result.json").exists()


def test_unknown_tastes_are_refused(tmp_path):
    with pytest.raises(UsageError, match="ink, flat, glossy, noto"):
        demo.run_demo("oil", tmp_path)


def test_style_share_counts_the_pictures_in_a_style(policy_base):
    names = read_prompts(TRAIN_PROMPTS)[:10]
    texts = [f"{name}, ink style" for name in names] + [f"{name}, glossy style" for name in names]
    latents = sample(policy_base, texts, 10, torch.Generator().manual_seed(0), SIZES)
    images = decode(policy_base, latents, SIZES)
    drawn = Evaluation(tuple(names), images.view(10, 2, 64, 64, 3), torch.zeros(10, 2), 0.0)
    assert demo.style_share(ClipScore(), drawn, "ink") == pytest.approx(0.5, abs=0.15)
    assert demo.name_share(ClipScore(), drawn, ["a hat", *names]) < 0.5, (
        "pictures are in another order than the prompts"
    )
    only_ink = replace(drawn, images=images[:10].view(10, 1, 64, 64, 3))
    assert demo.style_share(ClipScore(), only_ink, "ink") > 0.8
    assert demo.name_share(ClipScore(), only_ink, ["a hat", *names]) > 0.8
