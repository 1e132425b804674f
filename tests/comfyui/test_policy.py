"""The policy on ComfyUI's models: gradients, ratios, and agreement with what stock nodes compute."""

from __future__ import annotations

import comfy.controlnet
import comfy.sample
import comfy.sd
import comfy.utils
import pytest
import torch

from nodes import ControlNetApplyAdvanced
from tests.comfyui import checkpoints
from tests.comfyui.families import FAMILIES, SIDE, SIDES, open_model, open_policy, prompts
from treegrpo.backends.comfy.policy import ComfyPolicy, Prompts, training
from treegrpo.method.advantage import with_advantages
from treegrpo.method.grow import BatchSizes, grow
from treegrpo.method.plan import at_steps
from treegrpo.method.process import Kernel
from treegrpo.method.sample import sample
from treegrpo.method.update import UpdateSettings, update
from treegrpo.run import lora_file

SIZES = BatchSizes(rollout=8, training=3, decode=4)


@pytest.fixture(params=["sd3", "flux", "sd15", pytest.param("sd15_v", marks=pytest.mark.long)])
def family(request):
    return request.param


@pytest.fixture(autouse=True)
def _as_in_a_node():
    with torch.inference_mode(), training():
        yield


def loss(policy: ComfyPolicy, sigma: float) -> torch.Tensor:
    """A number that depends on every element of a prediction."""
    generator = torch.Generator().manual_seed(2)
    x = policy.initial_noise(2, sigma, generator)
    weight = torch.randn(x.shape, generator=generator)
    return (weight.double() * policy.denoise(x, sigma, list(policy.known)).double()).mean()


def with_gradient(family: str, folder, recompute: bool, **settings) -> ComfyPolicy:
    """A policy in float64 whose weights hold the gradient of the loss, guidance included."""
    model, vae = open_model(family, folder, torch.float64)
    policy = open_policy(model, vae, family, recompute=recompute, guidance=3.0, **settings)
    for module in policy.adapter.modules.values():
        module.double()
    loss(policy, float(policy.sigmas(4)[1])).backward()
    return policy


def assert_finite_differences(policy: ComfyPolicy) -> None:
    """The gradient that the weights hold is the slope of the loss, in weights from the first layer to the last, along
    random directions.
    """
    sigma = float(policy.sigmas(4)[1])
    trained = [(name, weight) for name, weight in policy.adapter.tensors() if weight.requires_grad]
    whole = sum(float(weight.grad.norm()) ** 2 for _, weight in trained) ** 0.5
    generator = torch.Generator().manual_seed(3)
    for name, weight in trained[:: max(1, (len(trained) - 1) // 3)]:
        direction = torch.randn(weight.shape, generator=generator, dtype=torch.float64)
        exact = float((weight.grad * direction).sum())
        # ComfyUI hands predictions on in float32; their rounding, over steps of 5e-4, is what the tolerance is for.
        tolerance = 3e-3 * float(weight.grad.norm()) + 3e-4 * whole
        assert slope(policy, sigma, weight, direction) == pytest.approx(exact, abs=tolerance), name


def test_gradients_equal_finite_differences(family, folder):
    policy = with_gradient(family, folder, recompute=True)
    assert_finite_differences(policy)
    policy.close()


def test_recomputing_blocks_does_not_change_the_gradient(family, folder):
    policies = [with_gradient(family, folder, recompute) for recompute in (True, False)]
    for recomputed, plain in zip(*(policy.parameters() for policy in policies), strict=True):
        torch.testing.assert_close(recomputed.grad, plain.grad, rtol=1e-9, atol=1e-12)
    for policy in policies:
        policy.close()


@torch.no_grad()
def slope(
    policy: ComfyPolicy, sigma: float, weight: torch.Tensor, direction: torch.Tensor, step: float = 5e-4
) -> float:
    """The derivative of the loss by central differences at two steps, extrapolated to none (Richardson)."""

    def at(distance: float) -> float:
        weight.add_(direction, alpha=distance)
        value = float(loss(policy, sigma))
        weight.sub_(direction, alpha=distance)
        return value

    fine, coarse = ((at(h) - at(-h)) / (2 * h) for h in (step, 2 * step))
    return (4 * fine - coarse) / 3


def grown(policy: ComfyPolicy, steps: int = 4):
    """A scored and backed-up tree of nine leaves a prompt."""
    plan = at_steps(steps, (1, 2), 3)
    tree = grow(policy, list(policy.known), plan, Kernel("cps"), torch.Generator().manual_seed(0), SIZES)
    tree = tree.with_rewards({"mean": tree.leaves.flatten(1).mean(1)})
    return with_advantages(tree, {"mean": 1.0}, "logprob", "none", 5.0)


def updated(policy: ComfyPolicy, passes: int = 1, **settings):
    """The statistics of an update on a fresh tree."""
    optimizer = torch.optim.AdamW(policy.parameters(), lr=1e-2)
    return update(policy, grown(policy), optimizer, UpdateSettings(passes=passes, **settings), SIZES.training)


@pytest.mark.parametrize(("recompute", "guidance"), [(False, 1.0), (True, 3.0)])
def test_the_first_ratio_is_exactly_one(family, recompute, guidance, folder):
    policy = open_policy(*open_model(family, folder), family, recompute=recompute, guidance=guidance)
    statistics = updated(policy, passes=2, kl=0.1)
    assert statistics.ratio_error[0] == 0
    assert statistics.ratio_error[1] > 0
    assert statistics.grad_norm[0] > 0
    assert statistics.kl[0] > 0
    assert not statistics.skipped
    policy.close()


@pytest.mark.parametrize(
    ("family", "dtype"),
    [
        ("sd3", torch.bfloat16),
        ("sd3", torch.float16),
        ("sd3", torch.float8_e4m3fn),
        ("flux", torch.float8_e4m3fn),
        ("sd15", torch.bfloat16),
    ],
    indirect=["family"],
)
def test_low_precision_weights_train_with_a_float32_adapter(family, dtype, folder):
    policy = open_policy(*open_model(family, folder, dtype), family)
    before = policy.adapter_state()
    statistics = updated(policy)
    assert statistics.ratio_error[0] == 0
    assert all(weight.dtype == torch.float32 for weight in policy.parameters())
    after = policy.adapter_state()
    assert any(not torch.equal(after[name], before[name]) for name in before)
    policy.close()


def test_an_fp8_model_has_the_gradient_of_its_own_weights(folder):
    """Frozen layers fetch their weight anew for the backward pass; it has to be the one of the forward pass."""
    gradients = []
    for stored in (torch.float8_e4m3fn, torch.float32):
        model, vae = open_model("sd3", folder, stored)
        if stored == torch.float32:
            for weight in model.model.diffusion_model.parameters():
                weight.data = weight.data.to(torch.float8_e4m3fn).float()
        policy = open_policy(model, vae, "sd3")
        loss(policy, float(policy.sigmas(4)[1])).backward()
        gradients.append(torch.cat([weight.grad.flatten() for weight in policy.parameters()]))
        policy.close()
    # fp8 weights compute in bfloat16 or float16, whose 8 or 11 bits add up over the layers.
    torch.testing.assert_close(gradients[0], gradients[1], rtol=0, atol=0.1 * float(gradients[1].abs().max()))


def stock_samples(model, policy: ComfyPolicy, steps: int, guidance: float) -> torch.Tensor:
    """What KSampler draws with euler from the noise that the policy draws for seed 5."""
    noise = torch.randn((len(policy.known), *policy.latent_shape), generator=torch.Generator().manual_seed(5))
    drawn = [
        comfy.sample.sample(
            model,
            noise[i : i + 1],
            steps,
            guidance,
            "euler",
            "simple",
            conditioning,
            negative,
            torch.zeros_like(noise[i : i + 1]),
            disable_pbar=True,
        )
        for i, (conditioning, negative) in enumerate(policy.known.values())
    ]
    return torch.cat(drawn)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_ode_is_what_ksampler_draws(family, folder):
    guidance = 3.0
    model, vae = open_model(family, folder)
    side = SIDES[family]
    policy = ComfyPolicy(model, vae, prompts(family), height=side, width=side, scheduler="simple", guidance=guidance)
    ours = sample(policy, list(policy.known), 5, torch.Generator().manual_seed(5), SIZES)
    ours = model.model.process_latent_out(ours)
    policy.close()
    stock = stock_samples(model, policy, 5, guidance)
    # Ours predicts both prompts in one batch, which rounds otherwise than two batches of one.
    torch.testing.assert_close(ours, stock, rtol=0, atol=1e-3 * float(stock.abs().max()))


@pytest.mark.parametrize("kind", ["LoRA", "LoKr"])
def test_the_saved_lora_in_the_stock_loader_draws_what_training_drew(family, kind, folder, tmp_path):
    model, vae = open_model(family, folder)
    policy = open_policy(model, vae, family, adapter={"kind": kind})
    trained = sample(policy, list(policy.known), 3, torch.Generator().manual_seed(5), SIZES)
    with policy.reference():
        base = sample(policy, list(policy.known), 3, torch.Generator().manual_seed(5), SIZES)
    file = tmp_path / "lora.safetensors"
    lora_file.write(file, policy.adapter_state(), 2, 4.0)
    policy.close()
    patched, _ = comfy.sd.load_lora_for_models(model, None, comfy.utils.load_torch_file(str(file)), 1.0, 0.0)
    assert len(patched.patches) == len(policy.adapter.modules)
    stock = model.model.process_latent_in(stock_samples(patched, policy, 3, 1.0))
    distance = float((trained - base).abs().max())
    assert distance > 0.01
    # The loader adds the product of the factors to the weight, training adds its effect to the output.
    assert float((trained - stock).abs().max()) < 2e-3 * distance


def test_a_stacked_lora_takes_part(folder, tmp_path):
    model, vae = open_model("sd3", folder)
    policy = open_policy(model, vae, "sd3")
    state = policy.adapter_state()
    plain = sample(policy, list(policy.known), 3, torch.Generator().manual_seed(5), SIZES)
    policy.close()
    stacked, _ = comfy.sd.load_lora_for_models(model, None, state, 1.0, 0.0)
    policy = ComfyPolicy(stacked, vae, prompts("sd3"), height=SIDE, width=SIDE, scheduler="simple")
    with_stack = sample(policy, list(policy.known), 3, torch.Generator().manual_seed(5), SIZES)
    policy.close()
    # A fresh adapter adds nothing, so this is the model with the stacked LoRA alone.
    torch.testing.assert_close(with_stack, plain, rtol=0, atol=2e-3 * float(plain.abs().max()))


def test_recomputing_blocks_needs_less_memory(folder):
    """Of two blocks only one is in memory at a time, beside the inputs of both."""
    needed = []
    for recompute in (True, False):
        model, _, vae = checkpoints.load(checkpoints.sd3(folder, depth=2))
        policy = open_policy(model, vae, "sd3", recompute=recompute)
        x = policy.initial_noise(1, 1.0, torch.Generator().manual_seed(0))
        needed.append(policy.training_bytes(x, 1.0, ["prompt 0"]))
        policy.close()
    assert needed[0] < 0.75 * needed[1]


def controlled(folder) -> Prompts:
    """Prompts for the Stable Diffusion 1.5, all with a ControlNet on them, as stock nodes load and put it."""
    given = prompts("sd15")
    network = comfy.controlnet.load_controlnet(str(checkpoints.controlnet(folder)))
    hint = torch.rand(1, SIDE, SIDE, 3, generator=torch.Generator().manual_seed(4))
    positive, negative = ControlNetApplyAdvanced().apply_controlnet(
        [entry for [entry] in given.positive.values()], given.negative, network, hint, 1.0, 0.0, 1.0
    )
    return Prompts({text: [entry] for text, entry in zip(given.texts, positive, strict=True)}, negative)


def test_a_controlnet_takes_part(folder):
    pictures = []
    model, vae = open_model("sd15", folder)
    for given in (prompts("sd15"), controlled(folder)):
        policy = open_policy(model, vae, "sd15", prompts=given, guidance=3.0)
        pictures.append(sample(policy, given.texts, 3, torch.Generator().manual_seed(5), SIZES))
        statistics = updated(policy)
        assert statistics.ratio_error[0] == 0
        assert statistics.grad_norm[0] > 0
        policy.close()
    assert float((pictures[0] - pictures[1]).abs().max()) > 0.01
    [[_, more]] = given.negative
    assert all(weight.grad is None for weight in more["control"].control_model.parameters())
    assert "get_control" not in vars(more["control"])


def test_gradients_through_a_controlled_model_equal_finite_differences(folder):
    policies = [with_gradient("sd15", folder, recompute, prompts=controlled(folder)) for recompute in (True, False)]
    assert_finite_differences(policies[0])
    for recomputed, plain in zip(*(policy.parameters() for policy in policies), strict=True):
        torch.testing.assert_close(recomputed.grad, plain.grad, rtol=1e-9, atol=1e-12)
    for policy in policies:
        policy.close()


def test_prompts_that_cannot_be_stacked_are_evaluated_in_turn(folder):
    positive = {f"{tokens} tokens": checkpoints.conditioning(tokens, tokens=tokens) for tokens in (4, 7)}
    given = Prompts(positive, checkpoints.conditioning(9))
    policy = open_policy(*open_model("sd3", folder), "sd3", prompts=given)
    texts = ["7 tokens", "4 tokens", "7 tokens", "4 tokens"]
    x = policy.initial_noise(4, 1.0, torch.Generator().manual_seed(0))
    together = policy.denoise(x, 1.0, texts)
    alone = torch.cat([policy.denoise(x[i : i + 1], 1.0, [texts[i]]) for i in range(4)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)
    policy.close()
