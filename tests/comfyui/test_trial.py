"""What is found out about a model when it is opened, with models and stock patches that are special."""

from __future__ import annotations

import pytest
import torch
from comfy_extras.nodes_lumina2 import RenormCFG
from comfy_extras.nodes_mahiro import Mahiro

from tests.comfyui.families import open_model, prompts
from tests.comfyui.families import open_policy as open_family
from tests.comfyui.test_policy import updated
from tests.comfyui.test_zoo import open_policy
from tests.comfyui.zoo import model_of
from treegrpo.backends.comfy.conditioning import Sharing
from treegrpo.backends.comfy.policy import ComfyPolicy, Prompts, training
from treegrpo.errors import UsageError


@pytest.fixture(autouse=True)
def _as_in_a_node():
    with torch.inference_mode(), training():
        yield


@pytest.mark.parametrize(
    ("name", "sharing"),
    [
        ("QwenImage", Sharing.LIKE_PROMPTS),
        ("Omnigen2", Sharing.ONE_PROMPT),  # ComfyUI adds up the tokens of all prompts of a call
    ],
)
def test_prompts_share_a_call_where_the_model_lets_them(name, sharing):
    policy = open_policy(name, model_of(name))
    assert policy.sharing is sharing
    policy.close()


@pytest.mark.parametrize(
    "patched",
    [
        lambda model: RenormCFG.execute(model, 100.0, 1.0).args[0],  # expects one picture
        lambda model: Mahiro.execute(model).args[0],  # averages over all
    ],
    ids=["RenormCFG", "Mahiro"],
)
def test_patches_that_mix_the_rows_of_a_batch_get_them_one_by_one(patched):
    policy = open_policy("Lumina2", patched(model_of("Lumina2")))
    assert policy.sharing is Sharing.NOBODY
    sigma = float(policy.sigmas(4)[1])
    texts = list(policy.positive)
    x = policy.initial_noise(3, sigma, torch.Generator().manual_seed(0))
    together = policy.denoise(x, sigma, texts)
    alone = [policy.denoise(x[i : i + 1], sigma, texts[i : i + 1]) for i in range(3)]
    assert torch.equal(together, torch.cat(alone))
    statistics = updated(policy)
    assert statistics.ratio_error[0] == 0
    assert statistics.grad_norm[0] > 0
    policy.close()


@pytest.mark.parametrize("family", ["sd3", "sd15"])
def test_stock_models_share(family, folder):
    policy = open_family(*open_model(family, folder), family, guidance=3.0)
    policy.try_out()
    assert policy.sharing is Sharing.LIKE_PROMPTS
    policy.close()


def test_conditioning_that_lacks_what_the_model_needs_is_a_sentence(folder):
    """Not only what torch says of shapes: here there is nothing where a tensor has to be."""
    model, vae = open_model("flux", folder)
    given = prompts("flux")
    bare = Prompts({text: [[None, {}]] for text in given.texts}, [[None, {}]])
    policy = ComfyPolicy(model, vae, bare, height=64, width=64, scheduler="simple")
    with pytest.raises(UsageError, match="connect the CLIP that belongs to the model"):
        policy.try_out()
    policy.close()
