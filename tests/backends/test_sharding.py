"""A network that two processes hold together: it computes what it computed, and each holds half."""

import pytest
import torch

from tests.on_ranks import on_ranks
from tests.small_runs import open_policy, scramble
from treegrpo.backends.diffusers import Economy
from treegrpo.errors import UsageError

PROMPTS = ["bear", "frog", "bell"]


def predict(sharded, checkpointing):
    """(policy, predictions and gradients) of two network calls whose graphs live at the same time."""
    policy = open_policy(guidance=2.0, sharded=sharded, economy=Economy(gradient_checkpointing=checkpointing))
    scramble(policy)
    x = policy.initial_noise(3, 1.0, torch.Generator().manual_seed(0))
    first, second = policy.denoise(x, 0.7, PROMPTS), policy.denoise(0.5 * x, 0.3, PROMPTS)
    gradients = torch.autograd.grad(first.sum() + second.square().sum(), policy.parameters())
    return policy, [first.detach(), second.detach(), *gradients]


def compare(ranks):
    """(what is equal, weights held, bytes of training one row beyond those of one process, bytes of a block)."""
    equal = []
    for checkpointing in (False, True):
        alone, expected = predict(False, checkpointing)
        together, found = predict(True, checkpointing)
        equal.append(all(torch.equal(ours, theirs) for ours, theirs in zip(found, expected, strict=True)))
    state = alone.adapter_state()
    together.load_adapter_state(state)
    equal.append(all(torch.equal(weight, state[name]) for name, weight in together.adapter_state().items()))
    with together.reference(), alone.reference():
        x = alone.initial_noise(2, 1.0, torch.Generator().manual_seed(1))
        equal.append(torch.equal(together.denoise(x, 1.0, PROMPTS[:2]), alone.denoise(x, 1.0, PROMPTS[:2])))
    own = [weight.to_local() if hasattr(weight, "to_local") else weight for weight in together.network.parameters()]
    held = sum(weight.numel() for weight in alone.network.parameters()), sum(weight.numel() for weight in own)
    row, more = (policy.training_bytes(x[:1], 1.0, PROMPTS[:1]) for policy in (alone, together))
    blocks = [module for module in alone.network.modules() if type(module).__name__ in alone.family.BLOCKS]
    block = max(sum(weight.nbytes for weight in module.parameters()) for module in blocks)
    return equal, held, more - row, block


def test_a_shared_network_computes_what_it_computes_alone_from_half_of_the_weights():
    for equal, (alone, together), gathered, block in on_ranks(compare, sharded=True):
        assert equal == [True] * 4
        adapter = sum(weight.numel() for weight in open_policy().parameters())
        assert together - adapter == pytest.approx((alone - adapter) / 2, rel=0.01)  # odd sizes are rounded up
        assert block < gathered < 2.1 * block, "one block that runs, and one that is on its way, rounded up"


@pytest.mark.parametrize("economy", [Economy(weights="int8"), Economy(compile=True)])
def test_what_a_shared_network_cannot_have_is_refused(economy):
    with pytest.raises(UsageError, match=r"model\.weights and model\.compile: a network that is spread"):
        open_policy(sharded=True, economy=economy)
