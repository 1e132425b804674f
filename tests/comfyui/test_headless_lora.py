"""LoRAs trained with diffusers, in ComfyUI's stock loaders: they change the prediction as they did in training."""

from __future__ import annotations

import folder_paths
import pytest
import torch

from nodes import LoraLoaderModelOnly
from tests.backends.pipelines import FAMILIES, tiny_pipeline
from tests.backends.test_families import open_tiny, prompts_of
from tests.comfyui.native import native, predict
from tests.small_runs import scramble
from treegrpo.backends.families import z_image
from treegrpo.method.process import Path
from treegrpo.run import lora_file

pytestmark = pytest.mark.kernels

GUIDANCE = 3.5
"""Only FLUX reads it, as an input of its network."""
STEP = 400
"""Of the training of U-Nets: ComfyUI rounds sigmas to whole steps for them, diffusers does not."""
FILE = "trained_with_diffusers.safetensors"


UNKNOWN = ("qwen_image_21", "sana")
"""ComfyUI 0.30 has no such model."""
PIXART_LATENTS = 64
"""The least side of latents for which ComfyUI can tell PixArt the positions of patches; it divides by zero below."""


CASES = [
    # Attention is among all targets; alone it is asked of both kinds of names.
    pytest.param(
        family, targets, marks=[pytest.mark.long] * (targets == "attention" and family not in ("sd15", "flux"))
    )
    for family in FAMILIES
    if family not in UNKNOWN
    for targets in ("attention", "attention+mlp")
]


def sigma_of(policy) -> float:
    """A noise level that both know exactly."""
    if policy.path is Path.FLOW:
        # Z-Image is told a thousand times what the level lacks to 1, which is exact for this one alone.
        return 0.75 if policy.family is z_image else 0.7
    kept = float(policy.pipeline.scheduler.alphas_cumprod[STEP])
    return ((1 - kept) / kept) ** 0.5


@torch.no_grad()
def predictions(policy, x, sigma, given) -> tuple[torch.Tensor, torch.Tensor]:
    """What diffusers predicts without the adapter, and with it."""
    with policy.reference():
        base = policy.family.predict(policy.pipeline, x, sigma, given, GUIDANCE)
    return base, policy.family.predict(policy.pipeline, x, sigma, given, GUIDANCE)


@pytest.mark.parametrize(("family", "targets"), CASES)
def test_the_stock_loader_changes_the_prediction_as_training_did(family, targets, tmp_path, monkeypatch, caplog):
    policy = open_tiny(family, GUIDANCE, alpha=4.0, targets=targets)
    model = native(family, getattr(tiny_pipeline(family), policy.family.NETWORK))
    sigma = sigma_of(policy)
    prompts = prompts_of(family)
    if family == "qwen_image_edit":
        prompts = prompts[1:]  # words are behind the picture that is drawn there, behind the largest here
    if family.startswith("pixart"):
        policy.latent_shape = (policy.latent_shape[0], PIXART_LATENTS, PIXART_LATENTS)
        prompts = prompts[1:]  # one is enough of what is so large
    x = policy.initial_noise(len(prompts), sigma, torch.Generator().manual_seed(0))
    [(_, given)] = policy.texts.conditioning(prompts)
    scramble(policy, scale=0.3)
    base, trained = predictions(policy, x, sigma, given)
    largest = float((x - base).abs().max())
    # Both compute in float32, in another order.
    torch.testing.assert_close(predict(family, model, x, sigma, given, GUIDANCE), base, rtol=0, atol=1e-5 * largest)

    lora_file.write(tmp_path / FILE, policy.adapter_state(), rank=2, alpha=4.0)
    monkeypatch.setitem(folder_paths.folder_names_and_paths, "loras", ([str(tmp_path)], {".safetensors"}))
    [patched] = LoraLoaderModelOnly().load_lora_model_only(model, FILE, 1.0)
    state = policy.adapter_state()
    # Lumina 2's files have every factor twice, since diffusers and ComfyUI share none of its names.
    passed = {name for name in state if family == "lumina2" and not name.startswith("lora_unet_")}
    assert {line.split()[-1] for line in caplog.messages if "not loaded" in line.lower()} == passed
    assert sum(map(len, patched.patches.values())) == (len(state) - len(passed)) / 2
    change = predict(family, patched, x, sigma, given, GUIDANCE) - base
    assert float((trained - base).abs().max()) > 0.2 * largest
    # The factors' product is added to the weight there, to the output here; U-Nets, whose norms see 16 values here,
    # magnify how that rounds. The change itself is a thousand times as large.
    torch.testing.assert_close(change, trained - base, rtol=0, atol=2e-4 * largest)
