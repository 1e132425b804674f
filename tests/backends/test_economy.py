"""What a run gives up for memory, or takes for speed, on tiny networks."""

import shutil

import pytest
import torch

from tests.backends.pipelines import tiny_pipeline
from tests.backends.test_families import PROMPTS, SIZES, STEPS, open_tiny
from tests.conftest import scramble
from treegrpo.advantage import with_advantages
from treegrpo.backends import placement
from treegrpo.backends.diffusers import Economy
from treegrpo.backends.placement import Placement
from treegrpo.grow import grow
from treegrpo.plan import preset
from treegrpo.process import Kernel
from treegrpo.update import UpdateSettings, update

HALVES = [torch.bfloat16, torch.float16]


def open_in(dtype, family="sd3", **settings):
    """A tiny policy whose network computes in `dtype`, with an adapter that does something."""
    policy = open_tiny(family, pipeline=tiny_pipeline(family).to(dtype), **settings)
    scramble(policy)
    return policy


def one_update(policy, passes=1):
    """(statistics, gradient of the first pass) of an iteration with random rewards."""
    plan = preset("treegrpo", steps=STEPS, window=(1, 2), branch=2, roots=1)
    tree = grow(policy, PROMPTS, plan, Kernel("cps"), torch.Generator().manual_seed(0), SIZES)
    rewards = torch.randn(8, generator=torch.Generator().manual_seed(1))
    tree = with_advantages(tree.with_rewards({"r": rewards}), {"r": 1.0})
    optimizer = torch.optim.AdamW(policy.parameters(), lr=1e-3)
    gradients = []
    optimizer.register_step_pre_hook(
        lambda *_: gradients.append(torch.cat([weight.grad.flatten() for weight in policy.parameters()]))
    )
    statistics = update(policy, tree, optimizer, UpdateSettings(passes, max_grad_norm=1e9), SIZES.training)
    return statistics, gradients[0]


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize("family", ["sd15", "sd3", "flux"])
def test_half_precision_keeps_a_float32_adapter_and_the_direction_of_the_gradient(family, dtype):
    policy = open_in(dtype, family)
    assert policy.dtype is dtype
    assert {weight.dtype for weight in policy.parameters()} == {torch.float32}
    statistics, gradient = one_update(policy)
    assert statistics.ratio_error == [0.0]
    assert statistics.skipped == []
    assert gradient.dtype is torch.float32
    _, exact = one_update(open_in(torch.float32, family))
    # Rounding to 8 bits (bfloat16) turns the gradient of a few layers by some degrees, to 11 bits by much less.
    least = 0.95 if dtype is torch.bfloat16 else 0.99
    assert torch.cosine_similarity(gradient, exact, dim=0) > least
    assert float(gradient.norm() / exact.norm()) == pytest.approx(1, abs=0.1)


def test_float16_gradients_do_not_vanish():
    """Without a scale the loss's gradient at a latent's element is far below the least that float16 holds."""
    policy = open_in(torch.float16)
    seen = []
    policy.network.proj_out.register_full_backward_hook(lambda _, __, out: seen.append(out[0]))
    one_update(policy)
    assert all(out.dtype is torch.float16 for out in seen)
    assert min(float((out != 0).float().mean()) for out in seen) > 0.95


def test_half_precision_keeps_no_float32_copy_of_an_adapters_input():
    policy = open_in(torch.bfloat16)
    kept = []
    sigma = float(policy.sigmas(STEPS)[1])
    x = policy.initial_noise(2, sigma, torch.Generator().manual_seed(0))
    width = policy.network.config.num_attention_heads * policy.network.config.attention_head_dim
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        policy.denoise(x, sigma, PROMPTS)
    wide = [tensor for tensor in kept if tensor.dim() == 3 and tensor.shape[-1] == width]
    assert wide
    assert {tensor.dtype for tensor in wide} == {torch.bfloat16}


@pytest.mark.parametrize("weights", ["int8", "float8"])
def test_eight_bit_weights_predict_nearly_the_same_and_have_the_right_gradient(weights):
    exact, policy = open_in(torch.float32), open_in(torch.float32, economy=Economy(weights=weights))
    sigma = float(policy.sigmas(STEPS)[2])
    x = policy.initial_noise(2, sigma, torch.Generator().manual_seed(2))
    probe = torch.randn(x.shape, generator=torch.Generator().manual_seed(3))
    parameters = policy.parameters()
    start = [weight.detach().clone() for weight in parameters]
    gradient = torch.autograd.grad((policy.denoise(x, sigma, PROMPTS) * probe).sum(), parameters)
    norm = torch.stack([g.square().sum() for g in gradient]).sum().sqrt()

    def along(step):
        for weight, origin, g in zip(parameters, start, gradient, strict=True):
            weight.data = origin + step * g / norm
        with torch.no_grad():
            return float((policy.denoise(x, sigma, PROMPTS).double() * probe).sum())

    h = 1e-2  # as in test_families
    assert (along(h) - along(-h)) / (2 * h) == pytest.approx(float(norm), rel=2e-2)
    along(0)
    with torch.no_grad():
        other = exact.denoise(x, sigma, PROMPTS)
        error = (policy.denoise(x, sigma, PROMPTS) - other).norm() / other.norm()
    # Eight bits round a weight by up to 1/256 of the largest of its row (int8), or up to 1/16 of itself (float8).
    assert 0 < float(error) < {"int8": 0.02, "float8": 0.1}[weights]


def test_guidance_in_two_calls_predicts_the_same():
    one, two = open_tiny("sd3", 3.0), open_tiny("sd3", 3.0, economy=Economy(fused_guidance=False))
    calls = []
    two.network.register_forward_pre_hook(
        lambda _, __, given: calls.append(len(given["hidden_states"])), with_kwargs=True
    )
    sigma = float(one.sigmas(STEPS)[1])
    x = one.initial_noise(2, sigma, torch.Generator().manual_seed(0))
    with torch.no_grad():
        # float32 that rounds in batches of another size
        torch.testing.assert_close(two.denoise(x, sigma, PROMPTS), one.denoise(x, sigma, PROMPTS), rtol=1e-4, atol=1e-4)
    assert calls == [2, 2]


@pytest.mark.long
@pytest.mark.skipif(shutil.which("g++") is None, reason="blocks are compiled by a compiler for C++")
def test_compiled_blocks_train_as_the_others_do():
    policy = open_tiny("sd3", economy=Economy(compile=True))
    scramble(policy)
    torch.compiler.reset()
    statistics, gradient = one_update(policy)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0, "nothing was compiled"
    assert statistics.ratio_error == [0.0]
    plain = open_tiny("sd3")
    scramble(plain)
    _, expected = one_update(plain)
    # Fused kernels round float32 otherwise.
    assert float((gradient - expected).norm() / expected.norm()) < 1e-4


def test_training_goes_with_its_own_guidance_and_drawing_with_that_of_pictures():
    policy, plain = open_tiny("sd3", 3.0, training_guidance=1.0), open_tiny("sd3")
    guided = open_tiny("sd3", 3.0)
    sigma = float(policy.sigmas(STEPS)[1])
    x = policy.initial_noise(2, sigma, torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(policy.denoise(x, sigma, PROMPTS), plain.denoise(x, sigma, PROMPTS))
        with policy.drawing():
            assert torch.equal(policy.denoise(x, sigma, PROMPTS), guided.denoise(x, sigma, PROMPTS))
        assert torch.equal(policy.denoise(x, sigma, PROMPTS), plain.denoise(x, sigma, PROMPTS))


def test_tiles_are_asked_of_the_vae():
    policy = open_tiny("sd15", economy=Economy(tiled_decode=True))
    assert policy.pipeline.vae.use_tiling
    assert not open_tiny("sd15").pipeline.vae.use_tiling


def test_an_offloaded_pipeline_never_has_encoders_and_network_on_the_device_together(monkeypatch):
    """There is no second device here, so what would be moved is written down."""
    pipeline = tiny_pipeline("sdxl")
    names = {id(part): name for name, part in pipeline.components.items()}
    where = {}
    monkeypatch.setattr(placement, "_move", lambda part, device: where.update({names[id(part)]: device.type}))
    device = torch.device("meta")
    offloaded = Placement(pipeline, pipeline.unet, device, offload=False)
    offloaded.idle = torch.device("cpu")
    where.clear()
    offloaded.bring_encoders()
    assert where == {"unet": "cpu", "text_encoder": "meta", "text_encoder_2": "meta"}
    offloaded.bring_network()
    assert where == {"unet": "meta", "text_encoder": "cpu", "text_encoder_2": "cpu"}
    with offloaded.vae():
        assert where == {"unet": "meta", "text_encoder": "cpu", "text_encoder_2": "cpu", "vae": "meta"}
    assert where["vae"] == "cpu"


def test_an_offloaded_policy_trains_as_the_other_does():
    plain, offloaded = (open_in(torch.float32, economy=Economy(offload=wanted)) for wanted in (False, True))
    (_, expected), (statistics, gradient) = one_update(plain), one_update(offloaded)
    assert statistics.ratio_error == [0.0]
    assert torch.equal(gradient, expected)


def test_prompts_are_encoded_once(monkeypatch):
    policy = open_tiny("sd15")
    encoded = []
    encode = policy.family.encode
    monkeypatch.setattr(policy.family, "encode", lambda *given: encoded.append(given[1]) or encode(*given))
    first = policy.embed(PROMPTS)
    assert all(torch.equal(a, b) for a, b in zip(policy.embed(PROMPTS), first, strict=True))
    assert encoded == [[text] for text in PROMPTS]
    with policy.without_embeddings():
        assert all(torch.equal(a, b) for a, b in zip(policy.embed(PROMPTS), first, strict=True))
    assert encoded == [[text] for text in PROMPTS] * 2


def test_what_is_moved_does_not_count_as_what_the_work_needs(monkeypatch):
    plain, policy = open_tiny("sd15", 2.0), open_tiny("sd15", 2.0)
    copies = []
    monkeypatch.setattr(placement, "_move", lambda part, device: copies.append(torch.zeros(10**6)))
    policy.placement.idle = torch.device("meta")  # another device, so that parts are moved
    x = policy.initial_noise(1, 1.0, torch.Generator().manual_seed(0))
    assert policy.training_bytes(x, 1.0, PROMPTS[:1]) == plain.training_bytes(x, 1.0, PROMPTS[:1])
    assert policy.decoding_bytes(x) == plain.decoding_bytes(x)
    assert len(copies) > 3


def test_a_rollout_of_new_prompts_moves_every_part_once(monkeypatch):
    policy = open_tiny("sd15", 2.0)
    moved = []
    monkeypatch.setattr(placement, "_move", lambda part, device: moved.append((part, device.type)))
    policy.placement.idle = torch.device("meta")
    plan = preset("treegrpo", steps=STEPS, window=(1, 2), branch=2, roots=1)
    grow(policy, PROMPTS, plan, Kernel("ddim"), torch.Generator().manual_seed(0), SIZES)
    network, encoder = policy.network, policy.pipeline.text_encoder
    assert moved == [(network, "meta"), (encoder, "cpu"), (encoder, "meta"), (network, "cpu")]


def test_a_move_that_fails_is_made_again(monkeypatch):
    policy = open_tiny("sd15")
    policy.placement.idle = torch.device("meta")
    moved = []

    def full(part, device):
        raise torch.OutOfMemoryError("the device is full")

    monkeypatch.setattr(placement, "_move", lambda part, device: moved.append(part))
    policy.placement.bring_network()
    monkeypatch.setattr(placement, "_move", full)
    with pytest.raises(torch.OutOfMemoryError):
        policy.placement.bring_encoders()
    monkeypatch.setattr(placement, "_move", lambda part, device: moved.append(part))
    moved.clear()
    policy.placement.bring_network()
    assert policy.network in moved
