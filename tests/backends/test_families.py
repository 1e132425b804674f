"""What every family must do, on tiny random networks of its own architecture."""

from itertools import islice

import numpy as np
import pytest
import torch
from diffusers import DPMSolverMultistepScheduler, EulerDiscreteScheduler, QwenImageEditPlusPipeline

from tests.backends.pipelines import FAMILIES, FIRST_FAMILIES, MORE_FAMILIES, side, tiny_pipeline
from tests.small_runs import scramble, small_config
from treegrpo.backends.diffusers import DiffusersPolicy, LoraSettings
from treegrpo.errors import UsageError
from treegrpo.method.advantage import with_advantages
from treegrpo.method.grow import BatchSizes, grow
from treegrpo.method.plan import preset
from treegrpo.method.process import Kernel, Path
from treegrpo.method.sample import decode, sample
from treegrpo.method.update import UpdateSettings, update
from treegrpo.pictures.image_file import to_pil
from treegrpo.pictures.instruction import Instruction
from treegrpo.rewards.colour import Brightness
from treegrpo.run import lora_file
from treegrpo.run.folder import RunFolder
from treegrpo.training.trainer import train

PROMPTS = ["bear", "a frog in the rain"]
_PICTURES = [torch.linspace(0, 1, 32 * 64 * 3).reshape(32, 64, 3), torch.linspace(1, 0, 32 * 32 * 3).reshape(32, 32, 3)]
LENGTHS = {
    "qwen_image": 320,
    "qwen_image_21": 120,
    "qwen_image_edit": 400,
    "lumina2": 200,
    "z_image": 80,
    "flux2": 320,
    "flux2_klein": 80,
}
"""Tokens of prompts; these wrap them in a text, of which every letter is a token to the tiny tokenizer."""
LENGTH = 24
STEPS = 5
SIZES = BatchSizes(rollout=2, training=3, decode=2)
UNGUIDED = ("sd15", "sd3", "flux")
"""Families that are asked without guidance, too; that of the others is half of what they do with it."""
LATER = [pytest.param(family, marks=pytest.mark.long) for family in MORE_FAMILIES]
BENT = {"sana": 1e-4}
"""Steps of finite differences for networks with corners: Sana's attention takes ReLUs, here of few tokens."""
PATCHED = (
    "StableDiffusion3Pipeline",
    "FluxPipeline",
    "QwenImagePipeline",
    "QwenImage21Pipeline",
    "QwenImageEditPlusPipeline",
    "Lumina2Pipeline",
    "PixArtAlphaPipeline",
    "PixArtSigmaPipeline",
    "ZImagePipeline",
    "Flux2Pipeline",
    "Flux2KleinPipeline",
    "ChromaPipeline",
)
"""Transformers, which read patches of 2 x 2 latents."""
_TEXT_SIDE = ("attn.add_q_proj", "attn.to_add_out", "txt_mlp.net.0.proj", "txt_mlp.net.2")
IDLE = {
    "sd3": {"transformer_blocks.2.attn.add_q_proj"},
    "sd35": {"transformer_blocks.2.attn.add_q_proj"},
    "qwen_image": {f"transformer_blocks.1.{name}" for name in _TEXT_SIDE},
    "qwen_image_edit": {f"transformer_blocks.1.{name}" for name in _TEXT_SIDE},
}
"""Layers that do not act on the picture: nobody reads what the last block writes to the text. SD3's has no more."""


def prompts_of(family, prompts=PROMPTS):
    """Prompts of other lengths; those of models that change pictures go with ones of other shapes."""
    if family != "qwen_image_edit":
        return prompts
    return [Instruction(prompt, _PICTURES[i % 2]) for i, prompt in enumerate(prompts)]


INSTRUCTIONS = prompts_of("qwen_image_edit")


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
    if name in ("FluxPipeline", "QwenImagePipeline", "ChromaPipeline"):
        noise = pipeline._pack_latents(noise, *noise.shape)
    if name in ("QwenImage21Pipeline", "QwenImageEditPlusPipeline"):
        return _apart(pipeline, noise, {**options, "negative_prompt": "", "true_cfg_scale": guidance})
    if name == "QwenImagePipeline":
        guided = {"negative_prompt": "", "true_cfg_scale": guidance}
        options["max_sequence_length"] = LENGTHS["qwen_image"]
    elif name == "FluxPipeline":
        guided = {"guidance_scale": guidance}
    elif name.startswith("Flux2"):
        guided = {"guidance_scale": guidance}
        options |= {"height": 2 * size, "width": 2 * size}
        options["max_sequence_length"] = LENGTHS["flux2_klein" if name == "Flux2KleinPipeline" else "flux2"]
    elif name == "ZImagePipeline":
        guided = {"guidance_scale": guidance - 1, "negative_prompt": [""] * len(PROMPTS)}
        options["max_sequence_length"] = LENGTHS["z_image"]
    else:
        guided = {"guidance_scale": guidance, "negative_prompt": [""] * len(PROMPTS)}
    if isinstance(pipeline.scheduler, EulerDiscreteScheduler):
        pipeline.scheduler.set_timesteps(STEPS)
        noise = noise / pipeline.scheduler.init_noise_sigma  # the pipeline multiplies by it
    if name not in ("StableDiffusionPipeline", "StableDiffusionXLPipeline"):
        options.setdefault("max_sequence_length", LENGTHS["lumina2"] if name == "Lumina2Pipeline" else LENGTH)
    if name.startswith(("Sana", "PixArt")):
        options["use_resolution_binning"] = False
    return pipeline(prompt=list(PROMPTS), latents=noise, **options, **guided).images


def _apart(pipeline, noise, options):
    """Pictures of pipelines that draw them one by one, or as the longest prompt wants; transparent ones over white."""
    if isinstance(pipeline, QwenImageEditPlusPipeline):
        rows = pipeline._pack_latents(noise, *noise.shape).split(1)
        calls = [{"prompt": str(each), "image": to_pil(each.reference)} for each in INSTRUCTIONS]
    else:
        rows, calls = noise.flatten(2).transpose(1, 2).split(1), [{"prompt": prompt} for prompt in PROMPTS]
    each = zip(rows, calls, strict=True)
    images = np.concatenate([pipeline(**call, latents=latents, **options).images for latents, call in each])
    alpha = images[..., 3:] if images.shape[-1] == 4 else 1
    return images[..., :3] * alpha + 1 - alpha


@pytest.mark.parametrize(
    ("family", "guidance"),
    [
        *((family, 2.5) for family in FAMILIES),
        *(pytest.param(family, 1.0, marks=[pytest.mark.long] * (family not in UNGUIDED)) for family in FAMILIES),
    ],
)
def test_ode_samples_equal_the_stock_pipeline(family, guidance):
    policy = open_tiny(family, guidance)
    noise = policy.initial_noise(2, float(policy.sigmas(STEPS)[0]), torch.Generator().manual_seed(0))
    ours = decode(policy, sample(policy, prompts_of(family), STEPS, torch.Generator().manual_seed(0), SIZES), SIZES)
    stock = stock_images(tiny_pipeline(family), noise, guidance)
    # Five steps of float32 that round in another order; a grey level is 4e-3.
    assert np.abs(ours.numpy() - stock).max() < 1e-3
    assert stock.std() > 0.01, "the pictures are blank, so equality would mean nothing"


@pytest.mark.parametrize(
    ("family", "guidance"),
    [
        *((family, 2.5) for family in FIRST_FAMILIES),
        *(("sd15", 1.0), ("flux", 1.0)),
        *(
            pytest.param(family, guidance, marks=pytest.mark.long)
            for family in MORE_FAMILIES
            for guidance in (1.0, 2.5)
        ),
    ],
)
def test_guidance_and_prompt_change_the_prediction(family, guidance):
    policy = open_tiny(family, guidance)
    sigma = float(policy.sigmas(STEPS)[1])
    x = policy.initial_noise(2, sigma, torch.Generator().manual_seed(1))
    with torch.no_grad():
        first = policy.denoise(x, sigma, prompts_of(family))
        other = policy.denoise(x, sigma, prompts_of(family)[::-1])
        plain = open_tiny(family).denoise(x, sigma, prompts_of(family))
    assert not torch.equal(first, other)
    assert torch.equal(first, plain) == (guidance == 1.0)


@pytest.mark.parametrize(
    ("family", "guidance"),
    [
        *((family, 1.0) for family in FAMILIES),
        ("sd15", 2.5),
        *(pytest.param(family, 2.5, marks=pytest.mark.long) for family in ("sd35", *MORE_FAMILIES)),
    ],
)
def test_first_ratio_is_exactly_one(family, guidance):
    """More guided ones are in test_iteration, with graphs that are kept."""
    policy = open_tiny(family, guidance)
    scramble(policy)
    plan = preset("treegrpo", steps=STEPS, window=(1, 2), branch=2, roots=1)
    tree = grow(policy, prompts_of(family), plan, Kernel("cps"), torch.Generator().manual_seed(0), SIZES)
    tree = with_advantages(tree.with_rewards({"r": torch.randn(8)}), {"r": 1.0})
    optimizer = torch.optim.AdamW(policy.parameters(), lr=1e-3)
    statistics = update(policy, tree, optimizer, UpdateSettings(passes=2, kl=0.1), SIZES.training)
    assert statistics.ratio_error[0] == 0.0
    assert statistics.ratio_error[1] > 0.0, "the second pass must see a policy that moved"
    assert statistics.skipped == []


@torch.no_grad()
def slope(loss, weights, direction, step):
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
def test_lora_gradient_equals_finite_differences(family, monkeypatch):
    """Along random directions: along the gradient itself the slope is its length even if half of it is missing."""
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)  # predictions are handed on in float32 otherwise
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
        return (policy.denoise(x, sigma, prompts_of(family)).double() * probe).sum()

    gradient = torch.autograd.grad(loss(), weights, allow_unused=True)
    gradient = [torch.zeros_like(w) if g is None else g for g, w in zip(gradient, weights, strict=True)]
    names = [name for name, weight in policy.network.named_parameters() if weight.requires_grad]
    idle = {name for name, g in zip(names, gradient, strict=True) if not g.any()}
    assert idle == {name for name in names if name.split(".lora_")[0] in IDLE.get(family, ())}
    length = float(torch.stack([g.norm() for g in gradient]).norm())
    for _ in range(3):
        direction = [torch.randn(weight.shape, generator=generator, dtype=torch.float64) for weight in weights]
        exact = sum(float((g * part).sum()) for g, part in zip(gradient, direction, strict=True))
        # Some norms compute in float32: that rounding, over steps of 5e-3, comes to 6e-5 of the length, and over Sana's
        # steps to 8e-5. The part of any one weight is longer: 8e-4 at least.
        assert slope(loss, weights, direction, BENT.get(family, 5e-3)) == pytest.approx(exact, abs=5e-4 * length)


@pytest.mark.parametrize(
    "family", [*FIRST_FAMILIES, *(later for later in LATER if later.values[0] not in ("pixart_alpha", "pixart_sigma"))]
)
def test_diffusers_draws_the_same_pictures_from_the_lora_file(family, tmp_path):
    """Not for PixArt, whose pipelines have no load_lora_weights; ComfyUI reads the file (test_headless_lora.py)."""
    policy = open_tiny(family, alpha=4.0, targets="attention+mlp")
    scramble(policy, scale=0.3)
    file = tmp_path / "lora.safetensors"
    lora_file.write(file, policy.adapter_state(), rank=2, alpha=4.0)
    ours = decode(policy, sample(policy, prompts_of(family), STEPS, torch.Generator().manual_seed(0), SIZES), SIZES)
    noise = policy.initial_noise(2, float(policy.sigmas(STEPS)[0]), torch.Generator().manual_seed(0))
    pipeline = tiny_pipeline(family)
    without = stock_images(pipeline, noise, 1.0)
    pipeline.load_lora_weights(str(tmp_path), weight_name=file.name)
    assert np.abs(ours.numpy() - stock_images(pipeline, noise, 1.0)).max() < 1e-3  # float32 rounding, see above
    assert np.abs(ours.numpy() - without).mean() > 1e-4, "the LoRA must change the pictures"


@pytest.mark.parametrize("family", [*FIRST_FAMILIES, *LATER])
def test_adapter_state_restores_the_prediction(family):
    policy, other = open_tiny(family), open_tiny(family)
    scramble(policy)
    other.load_adapter_state(policy.adapter_state())
    sigma = float(policy.sigmas(STEPS)[1])
    x = policy.initial_noise(2, sigma, torch.Generator().manual_seed(1))
    with torch.no_grad():
        assert torch.equal(policy.denoise(x, sigma, prompts_of(family)), other.denoise(x, sigma, prompts_of(family)))


@pytest.mark.parametrize("family", ["sd15", "sd2_v", "sdxl", "pixart_sigma"])
def test_noise_predictors_live_on_the_ve_path_and_refuse_kernels_of_flows(family):
    policy = open_tiny(family)
    assert policy.path is Path.VE
    plan = preset("treegrpo", steps=STEPS, window=(1, 2), branch=2, roots=1)
    with pytest.raises(UsageError, match="flow models only"):
        grow(policy, prompts_of(family), plan, Kernel("flow_sde"), torch.Generator().manual_seed(0), SIZES)


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


def test_words_that_do_not_fit_beside_their_picture_are_refused():
    policy = DiffusersPolicy(tiny_pipeline("qwen_image_edit"), height=64, width=64, max_sequence_length=300)
    with pytest.raises(UsageError, match=r'"bear" and its picture take 3\d\d tokens and 300 are kept'):
        policy.prepare(INSTRUCTIONS)


def train_for(family, folder, iterations, resume=False):
    """So many iterations of a run, on a tiny pipeline; returns what they leave behind."""
    policy = open_tiny(family)
    config = small_config(folder.parent)
    with RunFolder(folder, resume) as run:
        reports = list(islice(train(policy, [(Brightness(), 1.0)], config, run, prompts_of(family)), iterations))
        assert len(reports) == iterations
        assert all(report.spread["brightness"] > 0 and report.grad_norm[0] > 0 for report in reports)
        return run.lora_file.read_bytes(), run.state_file.read_bytes()


@pytest.mark.parametrize("family", ["sd15", "flux", "qwen_image", *LATER])
def test_a_resumed_run_ends_with_the_same_weights(family, tmp_path):
    """A U-Net and two transformers; of SD3 test_trainer knows."""
    unbroken = train_for(family, tmp_path / "unbroken", 2)
    stopped = train_for(family, tmp_path / "broken", 1)
    assert stopped != unbroken
    assert train_for(family, tmp_path / "broken", 1, resume=True) == unbroken


@pytest.mark.parametrize(
    "family",
    [
        *("qwen_image", "qwen_image_21", "qwen_image_edit", "lumina2", "pixart_sigma"),
        pytest.param("sana", marks=pytest.mark.long),
    ],
)
def test_shapes_alone_tell_what_a_training_step_takes(family):
    """As `treegrpo plan --recipe` does, for a prompt that has all its tokens; of the others test_prediction knows."""
    meta = torch.device("meta")
    real, outline = open_tiny(family), open_tiny(family, pipeline=tiny_pipeline(family).to(meta), device=meta)
    prompts = [INSTRUCTIONS[0]] if family == "qwen_image_edit" else ["bear" * 100]
    x = real.initial_noise(1, 1.0, torch.Generator().manual_seed(1))
    outline.denoise(x.to(meta), 0.9, prompts)  # brings Qwen's tables of positions to the device, where they stay
    found = outline.training_bytes(x.to(meta), 0.9, prompts)
    # Attention on a CPU keeps its logarithms in other paddings than on a GPU; see test_live_bytes. It also writes out
    # Qwen-Image 2.1's mask of texts as numbers, which is a tenth here, where texts are longer than pictures.
    near = 0.12 if family == "qwen_image_21" else 0.03
    assert found == pytest.approx(real.training_bytes(x, 0.9, prompts), rel=near)


@pytest.mark.parametrize(
    ("family", "settings"),
    [
        ("sana", {"prediction_type": "flow_prediction", "use_flow_sigmas": True, "flow_shift": 3.0}),
        ("pixart_alpha", {"beta_start": 0.0001, "beta_end": 0.02}),
        ("pixart_sigma", {"beta_start": 0.0001, "beta_end": 0.02}),
    ],
)
def test_levels_are_those_of_the_solver_that_the_models_come_with(family, settings):
    pipeline = tiny_pipeline(family)
    pipeline.scheduler = DPMSolverMultistepScheduler(**settings)
    sigmas = open_tiny(family, pipeline=pipeline).sigmas(STEPS)
    assert pipeline.scheduler.num_inference_steps is None, "the pipeline stays as it is"
    pipeline.scheduler.set_timesteps(STEPS)
    assert torch.equal(sigmas, pipeline.scheduler.sigmas)
    assert sigmas[-1] == 0


def test_the_levels_that_an_author_chose_are_taken_for_as_many_steps():
    pipeline, policy = tiny_pipeline("qwen_image_21"), open_tiny("qwen_image_21")
    pipeline.register_to_config(sample_sigmas=[1.0, 0.6, 0.3])
    chosen = open_tiny("qwen_image_21", pipeline=pipeline)
    assert torch.equal(chosen.sigmas(STEPS), policy.sigmas(STEPS))
    assert chosen.sigmas(3)[0] == policy.sigmas(3)[0] == 1
    assert chosen.sigmas(3)[1] < policy.sigmas(3)[1]


def test_a_network_that_runs_more_or_less_often_cannot_be_shared():
    with pytest.raises(UsageError, match=r"Qwen-Image 2\.1 takes a network call for every length of prompts"):
        open_tiny("qwen_image_21", sharded=True)
