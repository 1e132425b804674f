"""Models that change a picture: Prompts of pictures and instructions."""

from __future__ import annotations

import pytest
import torch

from tests.comfyui.test_policy import updated
from tests.comfyui.test_zoo import assert_close, drawn, open_policy, stock
from tests.comfyui.zoo import ZOO, model_of, prompt
from treegrpo.backends.comfy.conditioning import Sharing
from treegrpo.backends.comfy.policy import Prompts, training
from treegrpo.errors import UsageError
from treegrpo.pictures.instruction import Instruction

EDIT = ("Flux", "Flux2", "QwenImage")


def instructions(name: str, model) -> Prompts:
    """The same words for two pictures of one size, and other words for a wider one."""
    channels, side = model.model.latent_format.latent_channels, ZOO[name].side
    frames = (1,) * (model.model.latent_format.latent_dimensions - 2)
    positive, negatives = {}, {}
    for seed, (words, width) in enumerate([("make it blue", side), ("make it blue", side), ("no cat", side + 2)]):
        generator = torch.Generator().manual_seed(seed)
        text = Instruction(words, torch.rand(8, 8, 3, generator=generator))
        latents = torch.randn(1, channels, *frames, side, width, generator=generator)
        for where, [[embedding, more]] in ((positive, prompt(name, len(words))), (negatives, prompt(name, 9))):
            where[text] = [[embedding, {**more, "reference_latents": [latents]}]]
    assert len(positive) == 3
    return Prompts(positive, prompt(name, 9), negatives)


@pytest.mark.parametrize("name", [*EDIT[:1], *(pytest.param(name, marks=pytest.mark.long) for name in EDIT[1:])])
def test_an_edit_model_trains_as_it_draws(name):
    with torch.inference_mode(), training():
        model = model_of(name)
        policy = open_policy(name, model, prompts=instructions(name, model))
        assert policy.sharing is Sharing.LIKE_PROMPTS
        with policy.reference():
            base = drawn(policy)
        assert float((base[0] - base[1]).abs().max()) > 0.01, "another picture is another prompt"
        statistics = updated(policy, passes=2)
        policy.close()
        assert_close(base, stock(model, policy))
    assert statistics.ratio_error[0] == 0
    assert statistics.grad_norm[0] > 0


def test_a_model_that_does_not_look_at_pictures_is_refused():
    with torch.inference_mode(), training():
        model = model_of("ErnieImage")
        with pytest.raises(UsageError, match="prompts: this model does not look at the pictures"):
            open_policy("ErnieImage", model, prompts=instructions("Lumina2", model))
