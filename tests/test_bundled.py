"""What the model card promises of the bundled model and scorer, which change by `make bundled-model` alone."""

import numpy as np
import pytest
import torch
from diffusers import StableDiffusion3Pipeline

from emoji_model import vocabulary
from tests.small_runs import SIZES
from treegrpo.bundled import EMOJI_CLIP, EMOJI_SD3, HELDOUT_PROMPTS, TRAIN_PROMPTS
from treegrpo.method.sample import decode, sample
from treegrpo.rewards.clipscore import ClipScore
from treegrpo.training.demo_config import STYLES
from treegrpo.training.prompt_list import read_prompts

NAMES = read_prompts(TRAIN_PROMPTS) + read_prompts(HELDOUT_PROMPTS)


def megabytes(folder):
    return sum(file.stat().st_size for file in folder.rglob("*.safetensors")) / 1e6


def test_sizes():
    assert megabytes(EMOJI_SD3) <= 16
    assert megabytes(EMOJI_CLIP) <= 4


def test_prompts_are_distinct_and_held_out_ones_are_held_out():
    assert len(set(NAMES)) == len(NAMES) >= 64


def test_prompts_are_the_names_that_the_model_is_trained_on():
    assert sorted(NAMES) == sorted(vocabulary.NAMES)


def test_loads_as_a_stock_pipeline_in_float32_and_draws_with_its_defaults():
    pipeline = StableDiffusion3Pipeline.from_pretrained(EMOJI_SD3)
    pipeline.set_progress_bar_config(disable=True)
    for name in ("transformer", "vae", "text_encoder", "text_encoder_2"):
        assert next(getattr(pipeline, name).parameters()).dtype == torch.float32
    texts = [f"{name}, ink style" for name in NAMES[:8]]
    images = pipeline(
        texts, num_inference_steps=10, guidance_scale=1.0, generator=torch.Generator().manual_seed(0), output_type="np"
    ).images
    scorer = ClipScore()
    nearest = (scorer.clip.embed_images(torch.from_numpy(images)) @ scorer.clip.embed_texts(NAMES).T).argmax(1)
    right = np.mean([NAMES[place] == name for place, name in zip(nearest.tolist(), NAMES, strict=False)])
    assert right >= 0.75, "T5 padding of the default length must not spoil the pictures"


@pytest.mark.long
def test_draws_what_the_prompt_says_in_the_style_that_it_says(policy_base):
    some = NAMES[::2]
    texts = [f"{name}, {style} style" for name in some for style in STYLES]
    images = decode(policy_base, sample(policy_base, texts, 10, torch.Generator().manual_seed(0), SIZES), SIZES)
    scorer = ClipScore()
    seen = scorer.clip.embed_images(images)
    names = (seen @ scorer.clip.embed_texts(NAMES).T).argmax(1).cpu().view(len(some), len(STYLES))
    styles = (seen @ scorer.clip.embed_texts([f"{style} style" for style in STYLES]).T).argmax(1).cpu().view_as(names)
    right_names = (names == 2 * torch.arange(len(some))[:, None]).float().mean()
    right_styles = (styles == torch.arange(len(STYLES))).float().mean()
    # The card's own figures are higher; 160 pictures leave a standard error of about 3 %.
    assert right_names > 0.8
    assert right_styles > 0.8


@pytest.mark.long
def test_prompts_without_a_style_come_in_mixed_styles(policy_base):
    texts = NAMES
    images = decode(policy_base, sample(policy_base, texts, 10, torch.Generator().manual_seed(1), SIZES), SIZES)
    scorer = ClipScore()
    styles = (
        scorer.clip.embed_images(images) @ scorer.clip.embed_texts([f"{style} style" for style in STYLES]).T
    ).argmax(1)
    shares = torch.bincount(styles, minlength=len(STYLES)) / len(styles)
    assert shares.min() > 0.05, "a taste can only be learned from styles that are drawn at all"
