"""What is found out about a model when it is opened, with models and stock patches that are special."""

from __future__ import annotations

import pytest
import torch
from comfy.hooks import create_hook_lora
from comfy.ldm.ernie import model as ernie
from comfy_extras.nodes_apg import APG
from comfy_extras.nodes_easycache import EasyCacheNode
from comfy_extras.nodes_eps import TemporalScoreRescaling
from comfy_extras.nodes_freelunch import FreeU_V2
from comfy_extras.nodes_lumina2 import RenormCFG
from comfy_extras.nodes_mahiro import Mahiro
from comfy_extras.nodes_nag import NAGuidance

from tests.comfyui.families import open_model, prompts
from tests.comfyui.families import open_policy as open_family
from tests.comfyui.test_policy import updated
from tests.comfyui.test_zoo import gradient_of, open_policy, prompts_of
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
        lambda model: TemporalScoreRescaling.execute(model, 0.9, 1.0).args[0],  # expects one picture
    ],
    ids=["RenormCFG", "Mahiro", "TemporalScoreRescaling"],
)
def test_patches_that_mix_the_rows_of_a_batch_get_them_one_by_one(patched):
    policy = open_policy("Lumina2", patched(model_of("Lumina2")))
    assert policy.sharing is Sharing.NOBODY
    sigma = float(policy.sigmas(4)[1])
    texts = list(policy.known)
    x = policy.initial_noise(3, sigma, torch.Generator().manual_seed(0))
    together = policy.denoise(x, sigma, texts)
    alone = [policy.denoise(x[i : i + 1], sigma, texts[i : i + 1]) for i in range(3)]
    assert torch.equal(together, torch.cat(alone))
    statistics = updated(policy)
    assert statistics.ratio_error[0] == 0
    assert statistics.grad_norm[0] > 0
    policy.close()


def test_models_that_write_to_what_autograd_keeps_get_copies():
    """FreeU_V2 scales the hidden states of a U-Net in place."""
    plain, patched = model_of("SD15"), FreeU_V2.execute(model_of("SD15"), 1.3, 1.4, 0.9, 0.2).args[0]
    for model, careful in ((plain, False), (patched, True)):
        policy = open_policy("SD15", model)
        assert policy.careful is careful
        assert 1e5 < policy.training_bytes(torch.randn(1, *policy.latent_shape), 1.0, list(policy.known)[:1]) < 1e8
        statistics = updated(policy)
        assert statistics.ratio_error[0] == 0
        assert statistics.grad_norm[0] > 0
        policy.close()


@pytest.mark.parametrize("name", ["SD15", pytest.param("Flux", marks=pytest.mark.long)])
def test_guidance_within_attention_trains(name):
    """NAGuidance writes what it makes of both prompts' attention over the attention's output."""
    plain = gradient_of(name, model_of(name, torch.float64), True)
    # The largest tau: a smaller one clips what the patch adds, which has no slope where that begins.
    patched = [
        gradient_of(name, NAGuidance.execute(model_of(name, torch.float64), 5.0, 0.5, 10.0).args[0], recompute)
        for recompute in (True, False)
    ]
    torch.testing.assert_close(*patched, rtol=1e-9, atol=1e-12)
    assert float((patched[0] - plain).norm()) > 0.01 * float(plain.norm()), "the patch does nothing"


def test_a_kernel_without_a_derivative_is_noticed(monkeypatch):
    """Ernie-Image never hands on which attention it is to use: it takes the one that ComfyUI was started with."""
    attention = ernie.optimized_attention
    monkeypatch.setattr(ernie, "optimized_attention", lambda *given, **more: attention(*given, **more).detach())
    with pytest.raises(UsageError, match="model: its gradient is wrong"):
        open_policy("ErnieImage", model_of("ErnieImage"))


@pytest.mark.parametrize("momentum", [0.0, 0.5])
def test_a_patch_that_remembers_earlier_predictions_is_refused(momentum):
    patched = APG.execute(model_of("Lumina2"), 1.0, 5.0, momentum).args[0]
    if momentum:
        with pytest.raises(UsageError, match="model: a patch on it remembers earlier predictions"):
            open_policy("Lumina2", patched)
    else:
        open_policy("Lumina2", patched).close()


def test_what_skips_steps_or_changes_weights_on_the_way_is_refused():
    cached = EasyCacheNode.execute(model_of("Lumina2"), 0.2, 0.15, 0.95, False).args[0]
    with pytest.raises(UsageError, match="model: EasyCache or LazyCache is on it"):
        open_policy("Lumina2", cached)
    given = prompts_of("Lumina2")
    for [[_, more]] in given.positive.values():
        more["hooks"] = create_hook_lora({}, 1.0, 1.0)
    with pytest.raises(UsageError, match="prompts: a hook on their conditioning changes the model's weights"):
        ComfyPolicy(model_of("Lumina2"), None, given, height=32, width=32)


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
