"""What every family must do, on tiny random networks of its own architecture."""

from itertools import islice

import numpy as np
import pytest
import torch

from tests.backends.pipelines import FAMILIES, side, tiny_pipeline
from tests.small_runs import scramble, small_config
from treegrpo.backends.diffusers import DiffusersPolicy, LoraSettings
from treegrpo.errors import UsageError
from treegrpo.method.advantage import with_advantages
from treegrpo.method.grow import BatchSizes, grow
from treegrpo.method.plan import preset
from treegrpo.method.process import Kernel, Path
from treegrpo.method.sample import decode, sample
from treegrpo.method.update import UpdateSettings, update
from treegrpo.rewards.colour import Brightness
from treegrpo.run import lora_file
from treegrpo.run.folder import RunFolder
from treegrpo.training.trainer import train

PROMPTS = ["bear", "a frog in the rain"]
LENGTHS = {"qwen_image": 320}
"""Tokens of prompts; Qwen-Image wraps them in a text, of which every letter is a token to the tiny tokenizer."""
LENGTH = 24
STEPS = 5
SIZES = BatchSizes(rollout=2, training=3, decode=2)
GUIDANCES = [1.0, 2.5]
PATCHED = ("StableDiffusion3Pipeline", "FluxPipeline", "QwenImagePipeline")
"""Transformers, which read patches of 2 x 2 latents."""
_TEXT_SIDE = ("attn.add_q_proj", "attn.to_add_out", "txt_mlp.net.0.proj", "txt_mlp.net.2")
IDLE = {
    "sd3": {"transformer_blocks.2.attn.add_q_proj"},
    "sd35": {"transformer_blocks.2.attn.add_q_proj"},
    "qwen_image": {f"transformer_blocks.1.{name}" for name in _TEXT_SIDE},
}
"""Layers that do not act on the picture: nobody reads what the last block writes to the text. SD3's has no more."""


def open_tiny(family, guidance=1.0, **settings):
    """A policy on a tiny pipeline, or the one that is given, with an adapter of rank 2."""
    pixels = side(family)
    lora = LoraSettings(2, settings.pop("alpha", 2.0), settings.pop("targets", "attention"))
    return DiffusersPolicy(
        settings.pop("pipeline", None) or tiny_pipeline(family),
        lora,
        guidance,
        height=pixels,
        width=pixels,
        max_sequence_length=LENGTHS.get(family, LENGTH),
        **settings,
    )


def stock_images(pipeline, noise, guidance):
    """What diffusers' own pipeline draws from the states `noise` at the first sigma, float32 [N, H, W, 3]."""
    name = type(pipeline).__name__
    size = noise.shape[-1] * pipeline.vae_scale_factor
    options = {"num_inference_steps": STEPS, "height": size, "width": size, "output_type": "np"}
    if name in ("FluxPipeline", "QwenImagePipeline"):
        noise = pipeline._pack_latents(noise, *noise.shape)
    if name == "QwenImagePipeline":
        guided = {"negative_prompt": "", "true_cfg_scale": guidance}
        options["max_sequence_length"] = LENGTHS["qwen_image"]
    elif name == "FluxPipeline":
        guided = {"guidance_scale": guidance}
    else:
        guided = {"guidance_scale": guidance, "negative_prompt": [""] * len(PROMPTS)}
    if name in ("StableDiffusionPipeline", "StableDiffusionXLPipeline"):
        pipeline.scheduler.set_timesteps(STEPS)
        noise = noise / pipeline.scheduler.init_noise_sigma  # the pipeline multiplies by it
    else:
        options.setdefault("max_sequence_length", LENGTH)
    return pipeline(PROMPTS, latents=noise, **options, **guided).images


@pytest.mark.parametrize("guidance", GUIDANCES)
@pytest.mark.parametrize("family", FAMILIES)
def test_ode_samples_equal_the_stock_pipeline(family, guidance):
    policy = open_tiny(family, guidance)
    noise = policy.initial_noise(2, float(policy.sigmas(STEPS)[0]), torch.Generator().manual_seed(0))
    ours = decode(policy, sample(policy, PROMPTS, STEPS, torch.Generator().manual_seed(0), SIZES), SIZES)
    stock = stock_images(tiny_pipeline(family), noise, guidance)
    # Five steps of float32 that round in another order; a grey level is 4e-3.
    assert np.abs(ours.numpy() - stock).max() < 1e-3
    assert stock.std() > 0.01, "the pictures are blank, so equality would mean nothing"


@pytest.mark.parametrize("guidance", GUIDANCES)
@pytest.mark.parametrize("family", FAMILIES)
def test_guidance_and_prompt_change_the_prediction(family, guidance):
    policy = open_tiny(family, guidance)
    sigma = float(policy.sigmas(STEPS)[1])
    x = policy.initial_noise(2, sigma, torch.Generator().manual_seed(1))
    with torch.no_grad():
        first = policy.denoise(x, sigma, PROMPTS)
        other = policy.denoise(x, sigma, PROMPTS[::-1])
        plain = open_tiny(family).denoise(x, sigma, PROMPTS)
    assert not torch.equal(first, other)
    assert torch.equal(first, plain) == (guidance == 1.0)


@pytest.mark.parametrize(
    ("family", "guidance"), [*((family, 1.0) for family in FAMILIES), ("sd15", 2.5), ("sd35", 2.5)]
)
def test_first_ratio_is_exactly_one(family, guidance):
    """More guided ones are in test_iteration, with graphs that are kept."""
    policy = open_tiny(family, guidance)
    scramble(policy)
    plan = preset("treegrpo", steps=STEPS, window=(1, 2), branch=2, roots=1)
    tree = grow(policy, PROMPTS, plan, Kernel("cps"), torch.Generator().manual_seed(0), SIZES)
    tree = with_advantages(tree.with_rewards({"r": torch.randn(8)}), {"r": 1.0})
    optimizer = torch.optim.AdamW(policy.parameters(), lr=1e-3)
    statistics = update(policy, tree, optimizer, UpdateSettings(passes=2, kl=0.1), SIZES.training)
    assert statistics.ratio_error[0] == 0.0
    assert statistics.ratio_error[1] > 0.0, "the second pass must see a policy that moved"
    assert statistics.skipped == []


@torch.no_grad()
def slope(loss, weights, direction, step=5e-3):
    """The derivative of loss() along a direction, by central differences at two steps extrapolated to none."""

    def at(distance):
        for weight, part in zip(weights, direction, strict=True):
            weight.add_(part, alpha=distance)
        value = float(loss())
        for weight, part in zip(weights, direction, strict=True):
            weight.sub_(part, alpha=distance)
        return value

    fine, coarse = ((at(h) - at(-h)) / (2 * h) for h in (step, 2 * step))
    return (4 * fine - coarse) / 3


@pytest.mark.parametrize("family", FAMILIES)
def test_lora_gradient_equals_finite_differences(family):
    """Along random directions: along the gradient itself the slope is its length even if half of it is missing."""
    double = tiny_pipeline(family).to(torch.float64)
    policy = open_tiny(family, guidance=2.0, targets="attention+mlp", pipeline=double)
    scramble(policy)
    sigma = float(policy.sigmas(STEPS)[2])
    x = policy.initial_noise(2, sigma, torch.Generator().manual_seed(2))
    generator = torch.Generator().manual_seed(3)
    probe = torch.randn(x.shape, generator=generator, dtype=torch.float64)
    weights = policy.parameters()
    for weight in weights:
        weight.data = weight.data.double()

    def loss():
        return (policy.denoise(x, sigma, PROMPTS).double() * probe).sum()

    gradient = torch.autograd.grad(loss(), weights, allow_unused=True)
    gradient = [torch.zeros_like(w) if g is None else g for g, w in zip(gradient, weights, strict=True)]
    names = [name for name, weight in policy.network.named_parameters() if weight.requires_grad]
    idle = {name for name, g in zip(names, gradient, strict=True) if not g.any()}
    assert idle == {name for name in names if name.split(".lora_")[0] in IDLE.get(family, ())}
    length = float(torch.stack([g.norm() for g in gradient]).norm())
    for _ in range(3):
        direction = [torch.randn(weight.shape, generator=generator, dtype=torch.float64) for weight in weights]
        exact = sum(float((g * part).sum()) for g, part in zip(gradient, direction, strict=True))
        # Predictions are handed on in float32: that rounding, over steps of 5e-3, comes to 1e-4 of the length. The part
        # of any one weight is longer: 8e-4 at least.
        assert slope(loss, weights, direction) == pytest.approx(exact, abs=5e-4 * length)


@pytest.mark.parametrize("family", FAMILIES)
def test_diffusers_draws_the_same_pictures_from_the_lora_file(family, tmp_path):
    policy = open_tiny(family, alpha=4.0, targets="attention+mlp")
    scramble(policy, scale=0.3)
    file = tmp_path / "lora.safetensors"
    lora_file.write(file, policy.adapter_state(), rank=2, alpha=4.0)
    ours = decode(policy, sample(policy, PROMPTS, STEPS, torch.Generator().manual_seed(0), SIZES), SIZES)
    noise = policy.initial_noise(2, float(policy.sigmas(STEPS)[0]), torch.Generator().manual_seed(0))
    pipeline = tiny_pipeline(family)
    without = stock_images(pipeline, noise, 1.0)
    pipeline.load_lora_weights(str(tmp_path), weight_name=file.name)
    assert np.abs(ours.numpy() - stock_images(pipeline, noise, 1.0)).max() < 1e-3  # float32 rounding, see above
    assert np.abs(ours.numpy() - without).mean() > 1e-4, "the LoRA must change the pictures"


@pytest.mark.parametrize("family", FAMILIES)
def test_adapter_state_restores_the_prediction(family):
    policy, other = open_tiny(family), open_tiny(family)
    scramble(policy)
    other.load_adapter_state(policy.adapter_state())
    sigma = float(policy.sigmas(STEPS)[1])
    x = policy.initial_noise(2, sigma, torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.equal(policy.denoise(x, sigma, PROMPTS), other.denoise(x, sigma, PROMPTS))


@pytest.mark.parametrize("family", ["sd15", "sd2_v", "sdxl"])
def test_unets_live_on_the_ve_path_and_refuse_kernels_of_flows(family):
    policy = open_tiny(family)
    assert policy.path is Path.VE
    plan = preset("treegrpo", steps=STEPS, window=(1, 2), branch=2, roots=1)
    with pytest.raises(UsageError, match="flow models only"):
        grow(policy, PROMPTS, plan, Kernel("flow_sde"), torch.Generator().manual_seed(0), SIZES)


@pytest.mark.parametrize("family", FAMILIES)
def test_part_of_a_patch_or_of_a_latent_is_refused(family):
    pipeline = tiny_pipeline(family)
    whole, latent = side(family), pipeline.vae_scale_factor
    short = latent if pipeline.__class__.__name__ in PATCHED else latent // 2
    with pytest.raises(UsageError, match=r"model\.width: \d+ is not a multiple of"):
        DiffusersPolicy(pipeline, height=whole, width=whole + short)


def test_a_distilled_model_runs_once_per_picture():
    policy = open_tiny("flux", guidance=3.5)
    rows = []
    policy.network.register_forward_pre_hook(
        lambda module, args, kwargs: rows.append(len(kwargs["hidden_states"])), with_kwargs=True
    )
    x = policy.initial_noise(2, 1.0, torch.Generator().manual_seed(1))
    with torch.no_grad():
        policy.denoise(x, 0.9, PROMPTS)
    assert rows == [2]


def train_for(family, folder, iterations, resume=False):
    """So many iterations of a run, on a tiny pipeline; returns what they leave behind."""
    policy = open_tiny(family)
    config = small_config(folder.parent)
    with RunFolder(folder, resume) as run:
        reports = list(islice(train(policy, [(Brightness(), 1.0)], config, run, PROMPTS), iterations))
        assert len(reports) == iterations
        assert all(report.spread["brightness"] > 0 and report.grad_norm[0] > 0 for report in reports)
        return run.lora_file.read_bytes(), run.state_file.read_bytes()


@pytest.mark.parametrize("family", ["sd15", "flux", "qwen_image"])
def test_a_resumed_run_ends_with_the_same_weights(family, tmp_path):
    """A U-Net and two transformers; of SD3 test_trainer knows."""
    unbroken = train_for(family, tmp_path / "unbroken", 2)
    stopped = train_for(family, tmp_path / "broken", 1)
    assert stopped != unbroken
    assert train_for(family, tmp_path / "broken", 1, resume=True) == unbroken
