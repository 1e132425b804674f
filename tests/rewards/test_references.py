"""The learned rewards equal the packages that people cite, with equal small weights; see reference.py."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from transformers import CLIPConfig

from tests.rewards import made_up
from tests.rewards.made_up import PICTURES, PROMPTS
from treegrpo.pictures.image_file import read_image
from treegrpo.rewards.aesthetic import Aesthetic
from treegrpo.rewards.host import Host
from treegrpo.rewards.hps import HpsV2
from treegrpo.rewards.imagereward import ImageReward
from treegrpo.rewards.pickscore import PickScore

pytestmark = pytest.mark.kernels
RECORD = json.loads(Path(__file__).with_name("references.json").read_text(encoding="utf-8"))
RECORDED = RECORD["rewards"]


class SmallHpsV2(HpsV2):
    config = {  # noqa: RUF012
        "projection_dim": 24,
        "text_config": {"hidden_size": 32, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4},
        "vision_config": {
            **{"hidden_size": 32, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4},
            **{"patch_size": 14, "image_size": 56},
        },
    }
    for tower in ("text_config", "vision_config"):
        config[tower] |= {"hidden_act": "gelu", "projection_dim": 24}


class SmallImageReward(ImageReward):
    vision = {  # noqa: RUF012
        **{"hidden_size": 32, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4},
        **{"patch_size": 28, "image_size": 224, "layer_norm_eps": 1e-6},
    }
    text = {  # noqa: RUF012
        **{"hidden_size": 48, "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4},
        **{"encoder_hidden_size": 32, "vocab_size": 196},
    }


REWARDS = {"hpsv2": SmallHpsV2, "imagereward": SmallImageReward, "pickscore": PickScore, "aesthetic": Aesthetic}


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the pictures, and with the weights behind the recorded scores as they would come from the hub."""
    folder = tmp_path_factory.mktemp("reference")
    assert made_up.draw(folder) == RECORD["inputs"], "the inputs are not those recorded; run: make references"
    made_up.write_clip_words(folder / "clip-vit-large-patch14")
    made_up.write_bert_words(folder / "bert-base-uncased")
    for name in ("HPSv2", "ImageReward", "ddpo-aesthetic-predictor"):
        (folder / name).mkdir()
    hps, blip = (made_up.state(RECORDED[name]["weights"]) for name in ("hpsv2", "imagereward"))
    torch.save({"state_dict": hps}, folder / "HPSv2" / "HPS_v2_compressed.pt")
    torch.save(blip, folder / "ImageReward" / "ImageReward.pt")
    write_clip(folder / "PickScore_v1", RECORDED["pickscore"]["weights"])
    write_clip(folder / "clip-vit-large-patch14", RECORDED["aesthetic"]["weights"]["clip"])
    head = made_up.state(RECORDED["aesthetic"]["weights"]["head"])
    torch.save(head, folder / "ddpo-aesthetic-predictor" / "aesthetic-model.pth")
    return folder


def write_clip(folder: Path, shapes: dict[str, list[int]]) -> None:
    """A model of transformers' as its files."""
    CLIPConfig(**made_up.CLIP, architectures=["CLIPModel"]).save_pretrained(folder)
    weights = {**made_up.state(shapes), "logit_scale": torch.tensor(made_up.LOGIT_SCALE)}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize("name", REWARDS)
def test_scores_equal_the_reference_package(home, name):
    """To 1e-4: float32 sums put either side up to 3e-5 off. Wide spreads show that the pictures matter."""
    reward = REWARDS[name](Host(torch.device("cpu"), (home,)))
    expected = RECORDED[name]["scores"]
    scores = [
        float(reward.score(read_image(home / f"{picture}.png")[None], [prompt])[0])
        for picture, prompt in zip(PICTURES, PROMPTS, strict=True)
    ]
    assert np.std(expected) > 0.02
    np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-4)
