import pytest
import torch
from diffusers import UNet2DConditionModel
from torch import nn

from treegrpo.memory.live_bytes import BLOCK, peak_bytes, training_bytes

pytestmark = pytest.mark.kernels

KIB = torch.zeros(256)
"""1024 bytes, of which BLOCK is a divisor."""


def test_the_peak_counts_what_lives_at_the_same_time():
    def work():
        a = KIB + 1  # 1
        b = a * 2  # 2
        del a  # 1
        c = b.repeat(4)  # 5: the peak
        del b, c
        return KIB.repeat(3)  # 3

    assert peak_bytes(work) == 5 * 1024


def test_views_and_changes_in_place_take_nothing():
    def work():
        a = KIB + 1
        a.add_(1)
        return a.view(2, 128).T.unsqueeze(0)

    assert peak_bytes(work) == 1024


def test_small_tensors_count_as_a_block():
    assert peak_bytes(lambda: torch.zeros(1) + 1) == 2 * BLOCK


def test_training_tells_what_is_kept_from_what_the_backward_pass_needs():
    weight = nn.Parameter(torch.ones(256))
    # exp keeps its result for the backward pass; there its gradient (1), the result's (expanded) and the product live.
    found = training_bytes(lambda: (weight * KIB).exp(), [weight])
    assert found.kept == 1024
    assert found.peak == 4 * 1024  # exp's result, the gradient of ones, and the gradients of exp and of the product


@pytest.mark.parametrize("checkpointed", [False, True])
def test_meta_tells_the_same_as_a_device(checkpointed):
    config = {"block_out_channels": (32, 64), "layers_per_block": 1, "cross_attention_dim": 32, "sample_size": 16}
    config |= {"down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"), "attention_head_dim": 8}
    config |= {"up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D")}

    def measure(device):
        with torch.device(device):
            network = UNet2DConditionModel(**config).requires_grad_(False)
            weight = network.conv_in.weight.requires_grad_(True)
            x, words = torch.ones(2, 4, 16, 16), torch.ones(2, 7, 32)
        if checkpointed:
            network.enable_gradient_checkpointing()
        forward = lambda: network(x, torch.tensor([3], device=device), words, return_dict=False)[0]  # noqa: E731
        return training_bytes(forward, [weight])

    real, shapes = measure("cpu"), measure("meta")
    # Attention on a CPU keeps its logarithms in other paddings than on a GPU.
    assert shapes.kept == pytest.approx(real.kept, rel=0.03)
    assert shapes.peak == pytest.approx(real.peak, rel=0.03)


def test_checkpointed_parts_keep_their_inputs_alone():
    blocks = nn.Sequential(*(nn.Sequential(nn.Linear(64, 64), nn.Tanh()) for _ in range(8)))
    x, row = torch.ones(64, 64), 4 * 64 * 64
    parameters = list(blocks.parameters())
    assert training_bytes(lambda: blocks(x), parameters).kept == 8 * row  # what each tanh has returned
    # Four parts of two: the first three keep what they return, the last one, which is not checkpointed, its insides.
    halves = training_bytes(
        lambda: torch.utils.checkpoint.checkpoint_sequential(blocks, 4, x, use_reentrant=False), parameters
    )
    assert halves.kept == 5 * row


def test_attention_on_meta_does_not_write_the_matrix_out():
    query = torch.empty(1, 1, 4096, 64, device="meta")
    matrix = 4 * 4096 * 4096
    assert peak_bytes(lambda: nn.functional.scaled_dot_product_attention(query, query, query)) < matrix / 10
