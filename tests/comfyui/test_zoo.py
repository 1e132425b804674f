"""Every image family of ComfyUI trains: see zoo.py for the networks.

Five things are asked of each: the ODE is what KSampler draws, the first ratio is 1, the gradient is that of finite
differences with blocks computed again and without, the saved LoRA in the stock loader draws what training drew, and
the MODEL is bit for bit what it was.
"""

from __future__ import annotations

import comfy.sd
import comfy.supported_models as supported
import comfy.utils
import pytest
import torch
from comfy.model_patcher import ModelPatcher

from tests.backends.test_families import slope
from tests.comfyui.test_policy import SIZES, loss, stock_samples, updated
from tests.comfyui.test_safety import assert_untouched, snapshot
from tests.comfyui.zoo import (
    NO_PICTURES,
    OTHERS,
    REFUSED,
    TOKENS,
    ZOO,
    model_of,
    prompt,
    vae_of_videos,
    without_network,
)
from treegrpo.backends.comfy.adapters import AdapterSettings
from treegrpo.backends.comfy.policy import ComfyPolicy, Prompts, decode, training
from treegrpo.errors import UsageError
from treegrpo.method.sample import sample
from treegrpo.run import lora_file

STEPS = 5
QUICK = ("Stable_Cascade_B", "PixelDiTT2I", "QwenImage", "HunyuanImage21 distilled", "Omnigen2", "ErnieImage")
"""Those that need something which no other does; `make bench` has all."""
TRAINED = [pytest.param(name, marks=() if name in QUICK else pytest.mark.long) for name in ZOO if name not in REFUSED]


def prompts_of(name: str, count: int = 3) -> Prompts:
    """Up to three prompts, two of which are equally long, and a negative one."""
    lengths = (TOKENS, TOKENS, TOKENS + 2)[:count]
    positive = {f"prompt {seed}": prompt(name, seed, tokens) for seed, tokens in enumerate(lengths)}
    return Prompts(positive, prompt(name, 9))


def open_policy(
    name: str,
    model: ModelPatcher,
    count: int = 3,
    recompute: bool = True,
    targets: str = "attention",
    prompts: Prompts | None = None,
) -> ComfyPolicy:
    """A policy on a family's model with these or so many prompts and an adapter of rank 2 that is not zero."""
    side = ZOO[name].side * model.model.latent_format.spacial_downscale_ratio
    policy = ComfyPolicy(
        model,
        None,
        prompts or prompts_of(name, count),
        AdapterSettings(rank=2, alpha=4.0, targets=targets),
        guidance=3.0,
        height=side,
        width=side,
        scheduler="simple",
        recompute=recompute,
    )
    policy.try_out()
    generator = torch.Generator().manual_seed(1)
    for weight in policy.parameters():
        weight.data = 0.1 * torch.randn(weight.shape, generator=generator)
    return policy


def drawn(policy: ComfyPolicy) -> torch.Tensor:
    """What the policy's own ODE comes to for its three prompts."""
    return sample(policy, list(policy.known), STEPS, torch.Generator().manual_seed(5), SIZES)


def stock(model: ModelPatcher, policy: ComfyPolicy) -> torch.Tensor:
    """What KSampler draws with euler from the same noise, prompt by prompt, in the units of the model."""
    return model.model.process_latent_in(stock_samples(model, policy, STEPS, policy.guidance))


def assert_close(found: torch.Tensor, expected: torch.Tensor, tolerance: float = 1e-3) -> None:
    """Batches of another size, and factors that are multiplied first or last, round otherwise."""
    assert float(expected.std()) > 0.1, "all the same, so equality would mean nothing"
    torch.testing.assert_close(found, expected, rtol=0, atol=tolerance * float(expected.abs().max()))


@pytest.mark.parametrize("name", TRAINED)
def test_it_trains_as_it_draws(name, tmp_path):
    with torch.inference_mode():
        model = model_of(name)
        before = snapshot(model)
        with training():
            policy = open_policy(name, model)
            with policy.reference():
                base = drawn(policy)
            trained = drawn(policy)
            file = tmp_path / "lora.safetensors"
            lora_file.write(file, policy.adapter_state(), 2, 4.0)
            statistics = updated(policy, passes=2)
            policy.close()
        assert_untouched(model, before)
        assert_close(base, stock(model, policy))
        patched, _ = comfy.sd.load_lora_for_models(model, None, comfy.utils.load_torch_file(str(file)), 1.0, 0.0)
        assert len(patched.patches) == len(policy.adapter.modules)
        assert float((trained - base).abs().max()) > 0.01
        assert_close(trained, stock(patched, policy), 2e-3)
    assert statistics.ratio_error[0] == 0
    assert statistics.ratio_error[1] > 0
    assert statistics.grad_norm[0] > 0


@pytest.mark.parametrize(
    ("name", "targets"),
    [
        *(pytest.param(*name.values, "attention", marks=name.marks) for name in TRAINED),
        ("Flux2", "attn|modulation"),  # which all blocks share, and which comes to them in a dataclass
        pytest.param("Chroma", ".", marks=pytest.mark.long),
    ],
)
def test_its_gradient_is_the_slope(name, targets):
    with torch.inference_mode(), training():
        gradients = [gradient_of(name, model_of(name, torch.float64), again, targets) for again in (True, False)]
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-12)


def gradient_of(name: str, model: ModelPatcher, recompute: bool, targets: str = "attention") -> torch.Tensor:
    """The gradient of the loss, flat, of a family's model in float64; it is the slope if blocks are computed again."""
    policy = open_policy(name, model, 2, recompute, targets)
    for module in policy.adapter.modules.values():
        module.double()
    loss(policy, float(policy.sigmas(4)[1])).backward()
    # None: layers that do not act on the picture, such as what the last block of Qwen-Image writes to the text.
    gradient = [torch.zeros_like(each) if each.grad is None else each.grad for each in policy.parameters()]
    if recompute:
        assert_slopes(policy, gradient)
    policy.close()
    return torch.cat([each.flatten() for each in gradient])


def assert_slopes(policy: ComfyPolicy, gradient: list[torch.Tensor]) -> None:
    """The gradient is the slope of the loss along random directions of all weights together."""
    sigma, weights = float(policy.sigmas(4)[1]), policy.parameters()
    length = float(torch.stack([each.norm() for each in gradient]).norm())
    generator = torch.Generator().manual_seed(3)
    for _ in range(3):
        direction = [torch.randn(weight.shape, generator=generator, dtype=torch.float64) for weight in weights]
        exact = sum(float((part * each).sum()) for part, each in zip(direction, gradient, strict=True))
        found = slope(lambda: loss(policy, sigma), weights, direction, step=1e-3)
        # ComfyUI hands predictions on in float32, and some networks embed the time in it; over such steps that comes
        # to less than 1e-3 of the length.
        assert found == pytest.approx(exact, abs=3e-3 * length)


def test_a_frame_is_decoded_to_a_picture():
    with torch.inference_mode():
        model, vae = model_of("QwenImage"), vae_of_videos()
        latents = torch.randn(2, 16, 1, 4, 6, generator=torch.Generator().manual_seed(0))
        images = decode(model, vae, latents)
        stock = vae.decode(model.model.process_latent_out(latents))
    assert images.shape == (2, 32, 48, 3)
    assert torch.equal(images, stock[:, 0].float())
    assert images.std() > 0.01
    with torch.inference_mode(), pytest.raises(UsageError, match="vae: it makes no pictures of these latents"):
        decode(model, vae, torch.zeros(1, 16, 2, 4, 4))  # two frames make five pictures


@pytest.mark.parametrize("name", [kind.__name__ for kind in supported.models])
def test_every_family_is_in_the_zoo_or_has_a_reason(name):
    """What a later ComfyUI adds is skipped by name."""
    if name in {animal.split()[0] for animal in ZOO}:
        assert name not in OTHERS
    elif name not in OTHERS:
        pytest.skip(f"{name} is in no zoo yet")
    elif OTHERS[name] in NO_PICTURES:
        with torch.inference_mode(), training(), pytest.raises(UsageError, match="makes no pictures"):
            ComfyPolicy(without_network(name), None, Prompts({}, []), height=64, width=64)


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_trained_is_refused_in_words(name):
    with torch.inference_mode(), training(), pytest.raises(UsageError, match=REFUSED[name]):
        open_policy(name, model_of(name))
