import json
from dataclasses import replace

import pytest
import torch

from tests.small_runs import SIZES
from treegrpo.bundled import HELDOUT_PROMPTS, TRAIN_PROMPTS
from treegrpo.cli import demo
from treegrpo.errors import UsageError
from treegrpo.method.sample import decode, sample
from treegrpo.pictures.image_file import read_image
from treegrpo.rewards.clipscore import ClipScore
from treegrpo.training.evaluation import Evaluation
from treegrpo.training.prompt_list import read_prompts


@pytest.fixture
def short(monkeypatch):
    """Lets the demo run two small iterations with few prompts and pictures; settings of the update may change."""
    whole, heldout = demo.demo_config, read_prompts(HELDOUT_PROMPTS)[:4]

    def shorten(**update):
        def config_of(taste):
            config = whole(taste)
            prompts = read_prompts(config.train.prompts)[:4]
            train = {"iterations": 2, "prompts_per_iteration": 2, "prompts": prompts}
            return config.model_copy(
                update={
                    "train": config.train.model_copy(update=train),
                    "plan": config.plan.model_copy(update={"branch": 2, "depth": 2}),
                    "evaluation": config.evaluation.model_copy(update={"images_per_prompt": 2}),
                    "update": config.update.model_copy(update=update),
                }
            )

        monkeypatch.setattr(demo, "demo_config", config_of)
        monkeypatch.setattr(demo, "HELDOUT_PROMPTS", heldout)

    return shorten


def test_leaves_lora_pictures_and_figures_in_a_folder_of_its_own(short, tmp_path, capsys):
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo" / "state.safetensors").write_bytes(b"mine")
    short()
    demo.run_demo("flat", tmp_path / "demo")
    assert (tmp_path / "demo" / "state.safetensors").read_bytes() == b"mine"
    folder = tmp_path / "demo-2"
    out = capsys.readouterr().out
    for words in ("flat style", "held-out prompts", "training prompts", "diversity"):
        assert words in out
    for name in ("before-after.png", "reward-curve.png", "tree.png"):
        assert read_image(folder / name).std() > 0.05, f"{name} is blank"
    assert (folder / "tree.svg").read_text(encoding="utf-8").startswith("<?xml")
    assert (folder / "lora.safetensors").exists()
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    assert result["taste"] == "flat"
    assert result["held-out"]["before"]["low"] <= result["held-out"]["before"]["mean"]


@pytest.mark.long
def test_an_improvement_that_is_not_significant_is_a_failure(short, tmp_path, capsys):
    short(learning_rate=1e-12)
    assert not demo.run_demo("ink", tmp_path / "demo")
    assert "not significant" in capsys.readouterr().out


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
