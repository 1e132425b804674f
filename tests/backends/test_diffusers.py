import numpy as np
import pytest
import torch
from diffusers import StableDiffusion3Pipeline

from tests.small_runs import SIZES, open_policy, scramble
from treegrpo.backends.diffusers import LoraSettings, load
from treegrpo.bundled import EMOJI_CLIP, EMOJI_SD3
from treegrpo.errors import UsageError
from treegrpo.method.advantage import with_advantages
from treegrpo.method.grow import BatchSizes, grow
from treegrpo.method.plan import preset
from treegrpo.method.process import Kernel
from treegrpo.method.sample import decode, sample
from treegrpo.method.update import UpdateSettings, update
from treegrpo.run import lora_file

PROMPTS = ["bear", "frog"]


def stock_images(pipeline, noise, guidance):
    """What diffusers' own pipeline draws from the same noise, float32 [N, H, W, 3]."""
    return pipeline(
        PROMPTS,
        latents=noise,
        num_inference_steps=10,
        guidance_scale=guidance,
        max_sequence_length=2,
        output_type="np",
    ).images


@pytest.mark.parametrize("guidance", [1.0, 2.5])
def test_ode_samples_equal_the_stock_pipeline(guidance):
    policy = open_policy(guidance=guidance)
    noise = policy.initial_noise(2, 1.0, torch.Generator().manual_seed(0))
    ours = decode(policy, sample(policy, PROMPTS, 10, torch.Generator().manual_seed(0), SIZES), SIZES)
    stock = stock_images(StableDiffusion3Pipeline.from_pretrained(EMOJI_SD3), noise, guidance)
    # x0-space and v-space round differently: ten steps of float32 leave differences far below one grey level (1/255).
    assert np.abs(ours.numpy() - stock).max() < 1e-3
    assert stock.std() > 0.05, "the pictures are blank, so equality would mean nothing"


def test_fresh_adapter_and_reference_both_are_the_base_model(policy):
    base = open_policy()
    x = policy.initial_noise(2, 1.0, torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = base.denoise(x, 0.9, PROMPTS)
        with policy.reference():
            assert torch.equal(policy.denoise(x, 0.9, PROMPTS), expected)
        assert (policy.denoise(x, 0.9, PROMPTS) - expected).abs().max() > 1e-3


def test_guidance_combines_conditional_and_unconditional_predictions():
    guided, plain = open_policy(guidance=3.0), open_policy()
    x = plain.initial_noise(2, 1.0, torch.Generator().manual_seed(1))
    with torch.no_grad():
        conditional, unconditional = plain.denoise(x, 0.8, PROMPTS), plain.denoise(x, 0.8, ["", ""])
        expected = unconditional + 3.0 * (conditional - unconditional)
        # One batch of four instead of two of two: float32 matrix products differ in the last digits.
        torch.testing.assert_close(guided.denoise(x, 0.8, PROMPTS), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("kernel", "guidance"), [("cps", 2.0), ("flow_sde", 1.0), ("flow_sde", 2.0), ("dance_sde", 1.0), ("ddim", 1.0)]
)
def test_first_ratio_is_exactly_one(kernel, guidance):
    policy = open_policy(guidance=guidance)
    scramble(policy)
    plan = preset("treegrpo", steps=6, window=(1, 2, 3), branch=2, roots=1)
    sizes = BatchSizes(rollout=16, training=3, decode=8)  # 3 does not divide the levels: the last batches are ragged
    tree = grow(policy, ["bear", "frog", "bell"], plan, Kernel(kernel), torch.Generator().manual_seed(0), sizes)
    tree = with_advantages(tree.with_rewards({"r": torch.randn(24)}), {"r": 1.0})
    optimizer = torch.optim.AdamW(policy.parameters(), lr=1e-3)
    statistics = update(policy, tree, optimizer, UpdateSettings(passes=2, kl=0.1), sizes.training)
    assert statistics.ratio_error[0] == 0.0
    assert statistics.ratio_error[1] > 0.0, "the second pass must see a policy that moved"
    assert statistics.skipped == []


@pytest.mark.parametrize("alpha", [4.0, 2.0])
def test_diffusers_draws_the_same_pictures_from_the_lora_file(tmp_path, alpha):
    policy = open_policy(alpha=alpha)
    scramble(policy, scale=0.15)
    file = tmp_path / "lora.safetensors"
    lora_file.write(file, policy.adapter_state(), rank=4, alpha=alpha)
    ours = decode(policy, sample(policy, PROMPTS, 10, torch.Generator().manual_seed(0), SIZES), SIZES)

    pipeline = StableDiffusion3Pipeline.from_pretrained(EMOJI_SD3)
    noise = policy.initial_noise(2, 1.0, torch.Generator().manual_seed(0))
    without = stock_images(pipeline, noise, 1.0)
    pipeline.load_lora_weights(str(tmp_path), weight_name=file.name)
    stock = stock_images(pipeline, noise, 1.0)
    assert np.abs(ours.numpy() - stock).max() < 1e-3  # float32 rounding only, see above
    assert np.abs(without - stock).mean() > 1e-2, "the LoRA must change the pictures"


def test_adapter_state_round_trip_and_foreign_adapters(policy):
    other = open_policy()
    other.load_adapter_state(policy.adapter_state())
    for name, weight in policy.adapter_state().items():
        assert torch.equal(other.adapter_state()[name], weight)
    with pytest.raises(UsageError, match=r"shape .* the rank"):
        open_policy(rank=2).load_adapter_state(policy.adapter_state())
    with pytest.raises(UsageError, match="another model"):
        policy.load_adapter_state({"transformer.elsewhere.lora_A.weight": torch.zeros(1)})


def test_what_is_not_a_usable_pipeline_is_refused(tmp_path):
    with pytest.raises(UsageError, match="model_index"):
        load(str(tmp_path), LoraSettings(), cpu=True)
    with pytest.raises(UsageError, match="model_index"):
        load(str(EMOJI_CLIP), LoraSettings(), cpu=True)
    with pytest.raises(UsageError, match="neither a folder nor"):
        load(str(tmp_path / "nowhere"), LoraSettings(), cpu=True)
    with pytest.raises(UsageError, match="attention"):
        load(str(EMOJI_SD3), LoraSettings(targets="everything"), cpu=True)
    with pytest.raises(UsageError, match=r"lora\.targets"):
        load(str(EMOJI_SD3), LoraSettings(targets=["no.such.module"]), cpu=True)
