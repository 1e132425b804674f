"""What a run gives up for memory, or takes for speed, on tiny networks."""

import shutil
from functools import cache

import pytest
import torch

from tests.backends.pipelines import MORE_FAMILIES, tiny_pipeline
from tests.backends.test_families import PROMPTS, SIZES, STEPS, open_tiny
from tests.small_runs import scramble
from treegrpo.backends import diffusers, placement
from treegrpo.backends.diffusers import Economy
from treegrpo.backends.placement import Placement
from treegrpo.method.advantage import with_advantages
from treegrpo.method.grow import grow
from treegrpo.method.plan import preset
from treegrpo.method.process import Kernel
from treegrpo.method.update import UpdateSettings, update


def open_in(dtype, family="sd3", **settings):
    """A tiny policy whose network computes in `dtype`, with an adapter that does something."""
    policy = open_tiny(family, pipeline=tiny_pipeline(family).to(dtype), **settings)
    scramble(policy)
    return policy


def one_update(policy, passes=1, prompts=PROMPTS):
    """(statistics, gradient of the first pass) of an iteration with random rewards."""
    plan = preset("treegrpo", steps=STEPS, window=(1, 2), branch=2, roots=1)
    tree = grow(policy, prompts, plan, Kernel("cps"), torch.Generator().manual_seed(0), SIZES)
    rewards = torch.randn(8, generator=torch.Generator().manual_seed(1))
    tree = with_advantages(tree.with_rewards({"r": rewards}), {"r": 1.0})
    optimizer = torch.optim.AdamW(policy.parameters(), lr=1e-3)
    gradients = []

    def note(*_):
        # None: layers that do not act on the picture, see IDLE in test_families.
        parts = [torch.zeros_like(weight) if weight.grad is None else weight.grad for weight in policy.parameters()]
        gradients.append(torch.cat([part.flatten() for part in parts]))

    optimizer.register_step_pre_hook(note)
    statistics = update(policy, tree, optimizer, UpdateSettings(passes, max_grad_norm=1e9), SIZES.training)
    return statistics, gradients[0]


@cache
def exact_gradient(family):
    """That of one_update() in float32."""
    return one_update(open_in(torch.float32, family))[1]


@pytest.mark.parametrize(
    ("family", "dtype"),
    [
        *(("sd15", torch.float16), ("sd3", torch.bfloat16), ("flux", torch.float16)),
        *(
            pytest.param(*other, marks=pytest.mark.long)
            for other in (("sd15", torch.bfloat16), ("sd3", torch.float16), ("flux", torch.bfloat16))
        ),
    ],
)
def test_half_precision_keeps_a_float32_adapter_and_the_direction_of_the_gradient(family, dtype):
    policy = open_in(dtype, family)
    assert policy.dtype is dtype
    assert {weight.dtype for weight in policy.parameters()} == {torch.float32}
    statistics, gradient = one_update(policy)
    assert statistics.ratio_error == [0.0]
    assert statistics.skipped == []
    assert gradient.dtype is torch.float32
    exact = exact_gradient(family)
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


@pytest.mark.parametrize(
    ("economy", "dtype", "family"),
    [
        pytest.param({"weights": "int8"}, torch.float32, "sd3", marks=pytest.mark.long),
        ({"weights": "int8"}, torch.bfloat16, "flux"),  # the smaller: half precision is slow on many CPUs
        ({"weights": "float8", "gradient_checkpointing": True}, torch.float32, "sd3"),
        pytest.param(
            *({"weights": "float8", "gradient_checkpointing": True}, torch.bfloat16, "flux"), marks=pytest.mark.long
        ),
        ({"fused_guidance": False}, torch.float32, "sd3"),
    ],
    ids=["int8", "int8-bfloat16", "float8-checkpointing", "float8-checkpointing-bfloat16", "two-calls"],
)
def test_first_ratio_is_exactly_one(economy, dtype, family):
    policy = open_in(dtype, family, guidance=2.0, economy=Economy(**economy))
    statistics, _ = one_update(policy, passes=2)
    assert statistics.ratio_error[0] == 0.0
    assert statistics.ratio_error[1] > 0.0, "the second pass must see a policy that moved"
    assert statistics.skipped == []


@pytest.mark.parametrize(
    "family",
    [
        *("sd15", "flux", "qwen_image"),
        *(pytest.param(family, marks=pytest.mark.long) for family in ("sdxl", "sd35", *MORE_FAMILIES)),
    ],
)
def test_blocks_that_are_computed_again_have_the_very_same_gradient(family):
    calls, gradients = ([], []), []
    for wanted, seen in zip((False, True), calls, strict=True):
        economy = Economy(gradient_checkpointing=wanted)
        policy = open_in(torch.float32, family, guidance=2.0, targets="attention+mlp", economy=economy)
        for name, block in policy.network.named_modules():
            if type(block).__name__ in policy.family.BLOCKS and "refiner" not in name:  # Lumina 2's are kept
                block.register_forward_pre_hook(lambda *_, seen=seen: seen.append(torch.is_grad_enabled()))
        statistics, gradient = one_update(policy)
        assert statistics.ratio_error == [0.0]
        gradients.append(gradient)
    plain, recomputed = gradients
    assert sum(calls[1]) == 2 * sum(calls[0]) > 0, "each block must run anew for the backward pass"
    assert float(plain.norm()) > 0
    assert torch.equal(recomputed, plain), "the same kernels on the same numbers"


def with_unpacked_weights(policy):
    """A policy whose plain float32 weights are those that the 8 bits of `policy` stand for."""
    plain = open_in(torch.float32)
    layers = dict(plain.network.named_modules())
    for name, layer in policy.network.named_modules():
        if isinstance(layer, torch.nn.Linear) and "lora_" not in name:
            layers[name].weight.data = layer.weight.dequantize()
    return plain


@pytest.mark.parametrize("weights", ["int8", pytest.param("float8", marks=pytest.mark.long)])
def test_eight_bit_weights_predict_nearly_the_same_and_have_the_right_gradient(weights):
    exact, policy = open_in(torch.float32), open_in(torch.float32, economy=Economy(weights=weights))
    unpacked = with_unpacked_weights(policy)
    sigma = float(policy.sigmas(STEPS)[2])
    x = policy.initial_noise(2, sigma, torch.Generator().manual_seed(2))
    probe = torch.randn(x.shape, generator=torch.Generator().manual_seed(3))
    predictions, gradients = [], []
    for each in (exact, policy, unpacked):
        x0 = each.denoise(x, sigma, PROMPTS)
        gradient = torch.autograd.grad((x0 * probe).sum(), each.parameters())
        predictions.append(x0.detach())
        gradients.append(torch.cat([part.flatten() for part in gradient]))

    def error(found, expected):
        return float((found - expected).norm() / expected.norm())

    # Eight bits round a weight by up to 1/256 of the largest of its row (int8), or up to 1/16 of itself (float8).
    assert 0 < error(predictions[1], predictions[0]) < {"int8": 0.02, "float8": 0.1}[weights]
    # Rows are scaled after the product, or before it: float32 rounds otherwise.
    assert error(predictions[1], predictions[2]) < 1e-5
    assert error(gradients[1], gradients[2]) < 1e-5


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


@pytest.mark.parametrize(
    ("family", "side", "tile"),
    [("sd15", 40, 16), ("flux", 40, 16), pytest.param("qwen_image", 80, 64, marks=pytest.mark.long)],
)
def test_a_picture_in_tiles_is_nearly_the_whole_one(family, side, tile):
    pictures, decoded = [], []
    for wanted in (False, True):
        policy = open_tiny(family, economy=Economy(tiled_decode=wanted))
        latents = torch.randn((1, policy.latent_shape[0], side, side), generator=torch.Generator().manual_seed(0))
        shapes = []
        policy.pipeline.vae.decoder.register_forward_pre_hook(
            lambda _, given, shapes=shapes: shapes.append(tuple(given[0].shape[-2:]))
        )
        pictures.append(policy.decode(latents))
        decoded.append(shapes)
    whole, pieces = pictures
    assert decoded[0] == [(side, side)]
    assert max(decoded[1]) == (tile, tile)
    assert len(decoded[1]) >= 4
    assert pieces.shape == whole.shape
    # Norms and attention see a tile instead of the picture, and noise looks much the same in both. Tiles at wrong
    # places would be other pictures: the error of those is 1.4 times the spread.
    assert 0 < float((pieces - whole).norm() / (whole - whole.mean()).norm()) < 0.25


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


@pytest.mark.parametrize("family", ["sdxl", "flux"])
def test_only_parts_at_work_are_on_the_device_while_an_offloaded_policy_trains(family, monkeypatch):
    """There is no second device here, so where parts would be is written down; they start where they were loaded."""
    there = set()
    monkeypatch.setattr(
        placement, "_move", lambda part, device: (there.discard if device.type == "meta" else there.add)(part)
    )

    def placed(pipeline, network, device, offload, sharded):
        made = Placement(pipeline, network, device, offload, sharded)
        there.clear()
        made.idle = torch.device("meta") if offload else device
        return made

    monkeypatch.setattr(diffusers, "Placement", placed)
    policy = open_in(torch.float32, family, guidance=2.0, economy=Economy(offload=True))
    vae, encoders = policy.pipeline.vae, policy.placement.encoders
    seen = {part: [] for part in ("network", "backward", "encoder", "vae")}
    for name, parts in (("network", [policy.network]), ("encoder", encoders), ("vae", [vae.decoder])):
        for part in parts:
            part.register_forward_pre_hook(lambda *_, name=name: seen[name].append(set(there)))
    policy.parameters()[0].register_hook(lambda _: seen["backward"].append(set(there)))
    latents = policy.initial_noise(2, 1.0, torch.Generator().manual_seed(0))
    for prompts in (PROMPTS, ["bell", "bear"]):  # the second time encoders are wanted while the network is there
        one_update(policy, prompts=prompts)
        policy.decode(latents)
    assert all(seen.values())
    assert all(found == {policy.network} for found in seen["network"] + seen["backward"])
    assert all(found == set(encoders) for found in seen["encoder"])
    assert all(found == {policy.network, vae} for found in seen["vae"])


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
