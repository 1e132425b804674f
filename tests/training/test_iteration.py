"""One iteration on the bundled model."""

from functools import cache

import pytest
import torch

from tests.backends.pipelines import MORE_FAMILIES, tiny_pipeline
from tests.backends.test_families import open_tiny, prompts_of
from tests.on_ranks import on_ranks
from tests.small_runs import SIDE, open_policy, scramble
from treegrpo.backends.diffusers import Economy
from treegrpo.method.grow import BatchSizes
from treegrpo.method.ranks import ALONE
from treegrpo.rewards.registry import create
from treegrpo.training.config import Config, make_table
from treegrpo.training.iteration import Stopwatch, iterate, make_optimizer

PROMPTS = ["bear", "frog", "bell"]
SIZES = BatchSizes(rollout=16, training=4, decode=8, graphs=100)  # 4 does not divide the levels: ragged batches


def run(reuse, sizes=SIZES, policy=None, prompts=PROMPTS, guidance=1.0, kernel="cps", **updates):
    """(outcome, weights after the update, pictures that went through the network with gradients or without).

    policy: the bundled model with this guidance, unless another is given.
    """
    policy = policy or open_policy(guidance=guidance, height=SIDE, width=SIDE)
    scramble(policy)
    config = make_table(
        Config,
        model={"path": "bundled"},
        plan={"steps": 5, "branch": 2, "depth": 2},
        window={"schedule": "fixed", "start": 1},
        kernel={"name": kernel},
        rewards=[{"name": "jpeg_compressibility"}],
        update={"learning_rate": 1e-3, **updates},
        train={"prompts": PROMPTS, "prompts_per_iteration": 3, "reuse_graphs": reuse},
    )
    seen = []
    policy.network.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(len(kwargs["encoder_hidden_states"])), with_kwargs=True
    )
    optimizer = make_optimizer(policy, config.update.learning_rate)
    rewards = [(create("jpeg_compressibility"), 1.0)]
    outcome = iterate(policy, optimizer, rewards, config, prompts, 0, sizes, Stopwatch())
    return outcome, [weight.detach().clone() for weight in policy.parameters()], sum(seen)


TWICE = {"kl": 0.1, "updates_per_rollout": 2}


@pytest.mark.parametrize(
    ("guidance", "kernel", "updates"),
    [
        *((2.0, "cps", TWICE), (1.0, "flow_sde", {})),
        *(pytest.param(*other, marks=pytest.mark.long) for other in ((1.0, "cps", {}), (1.0, "flow_sde", TWICE))),
        pytest.param(2.0, "flow_sde", {}, marks=pytest.mark.long),
    ],
    ids=["cps guided twice", "flow_sde", "cps", "flow_sde twice", "flow_sde guided"],
)
def test_reused_graphs_give_the_very_same_update(guidance, kernel, updates):
    """Any two of guidance, kernel and updates meet in all their combinations."""
    again, reused = (run(reuse, guidance=guidance, kernel=kernel, **updates) for reuse in (False, True))
    assert_the_same_update(again, reused, 1 if guidance == 1 else 2)


@pytest.mark.parametrize(
    ("family", "dtype", "checkpointing"),
    [
        *(("sd15", torch.float32, True), ("qwen_image", torch.float32, True), ("flux", torch.float32, False)),
        ("flux", torch.bfloat16, True),  # convolutions in half precision are slow on many CPUs
        pytest.param("sd15", torch.float32, False, marks=pytest.mark.long),
        *(
            pytest.param(family, torch.float32, True, marks=pytest.mark.long)
            for family in ("sd35", "flux", *MORE_FAMILIES)
        ),
    ],
)
def test_reused_graphs_of_every_family_give_the_very_same_update(family, dtype, checkpointing):
    economy = Economy(gradient_checkpointing=checkpointing)
    policies = [open_tiny(family, 2.0, pipeline=tiny_pipeline(family).to(dtype), economy=economy) for _ in range(2)]
    # The KL switches the adapter off and on again while blocks of kept graphs are still to be computed anew.
    again, reused = (
        run(reuse, policy=policy, prompts=prompts_of(family, PROMPTS), kl=0.1)
        for policy, reuse in zip(policies, (False, True), strict=True)
    )
    assert_the_same_update(again, reused, 1 if policies[0].family.DISTILLED else 2)


def assert_equal_updates(again, reused):
    """Two results of run() have the same statistics and weights."""
    (outcome, expected, _), (other, weights, _) = again, reused
    assert other.statistics == outcome.statistics
    assert other.statistics.ratio_error[0] == 0.0
    assert other.statistics.grad_norm[0] > 0
    for weight, before in zip(weights, expected, strict=True):
        assert torch.equal(weight, before)


def assert_the_same_update(again, reused, calls):
    """Two results of run(), without reuse and with it: `calls` rows of the network less for every trained node."""
    (outcome, _, evaluations), (_, _, fewer) = again, reused
    assert_equal_updates(again, reused)
    trained = outcome.tree.plan.cost().trained_nodes * len(PROMPTS)
    assert evaluations - fewer == trained * calls


@cache
def run_without_graphs(updates):
    """run() that reuses none, for settings as pairs."""
    return run(False, **dict(updates))


@pytest.mark.parametrize(
    ("graphs", "kept", "updates"),
    [
        *((graphs, kept, {}) for graphs, kept in ((2, 0), (3, 3), (6, 3), (7, 7), (9, 9))),
        *((8, 7, TWICE), pytest.param(8, 7, {}, marks=pytest.mark.long)),
    ],
)
def test_the_first_batches_that_fit_keep_their_graphs(graphs, kept, updates):
    again = run_without_graphs(tuple(updates.items()))
    part = run(True, BatchSizes(rollout=16, training=4, decode=8, graphs=graphs), **updates)
    assert_equal_updates(again, part)
    assert again[2] - part[2] == kept  # the batches have 3 nodes, one of each prompt, then 4 and 2


def test_no_graph_outlives_the_iteration():
    outcome, *_ = run(True)
    assert all(x0.grad_fn is None for x0 in outcome.tree.denoised.values())
    assert all(state.grad_fn is None for state in outcome.tree.states.values())


def step(ranks, weighting, prompts=PROMPTS):
    """(outcome, gradient of the first of two passes, adapter after both) of an iteration that the ranks share.

    Pictures go through the network one by one: so their rounding is the same, whoever they share a batch with.
    """
    policy = open_policy(sharded=ranks.sharded, height=SIDE, width=SIDE)
    scramble(policy)
    config = make_table(
        Config,
        model={"path": "bundled"},
        plan={"steps": 5, "branch": 2, "depth": 2},
        rewards=[{"name": "jpeg_compressibility"}],
        update={
            "learning_rate": 1e-3,
            "kl": 0.1,
            "updates_per_rollout": 2,
            "weighting": weighting,
            "max_grad_norm": 1e9,
        },
        train={"prompts": prompts, "prompts_per_iteration": len(prompts)},
    )
    optimizer = make_optimizer(policy, config.update.learning_rate)
    gradients = []
    optimizer.register_step_pre_hook(
        lambda *_: gradients.append(torch.cat([weight.grad.flatten() for weight in policy.parameters()]))
    )
    rewards = [(create("jpeg_compressibility"), 1.0)]
    outcome = iterate(
        policy, optimizer, rewards, config, prompts, 0, BatchSizes(1, 1, 1, 100), Stopwatch(), ranks=ranks
    )
    return outcome, gradients[0], policy.adapter_state()


@pytest.mark.parametrize("weighting", ["edges", pytest.param("steps", marks=pytest.mark.long)])
def test_ranks_with_uneven_shares_take_the_step_of_one_process(weighting):
    outcome, gradient, _ = step(ALONE, weighting)
    shared = on_ranks(step, weighting)
    trees = [each.tree for each, *_ in shared]
    assert [len(tree.prompts) for tree in trees] == [1, 2]
    assert sum((tree.prompts for tree in trees), ()) == outcome.tree.prompts
    for t, log_probs in outcome.tree.log_probs.items():
        assert torch.equal(torch.cat([tree.log_probs[t] for tree in trees]), log_probs)
    assert torch.equal(torch.cat([tree.leaves for tree in trees]), outcome.tree.leaves)
    for other, other_gradient, other_state in shared:
        assert torch.equal(other.rewards["jpeg_compressibility"], outcome.tree.rewards["jpeg_compressibility"])
        # The same float32 numbers, added up in another order.
        assert float((other_gradient - gradient).abs().max() / gradient.abs().max()) < 1e-6
        assert other.statistics.ratio_error[0] == 0.0
        for name in ("loss", "kl", "ratio_error", "clip_fraction", "grad_norm"):
            expected = pytest.approx(getattr(outcome.statistics, name), rel=1e-4, abs=1e-6)
            assert getattr(other.statistics, name) == expected, name
        for name, weight in shared[0][2].items():
            assert torch.equal(other_state[name], weight), "ranks have drifted apart"


def test_ranks_that_hold_the_network_together_take_the_very_step_of_those_that_hold_it_each():
    shares, parts = (on_ranks(step, "edges", PROMPTS[:2], sharded=sharded) for sharded in (False, True))
    for (outcome, gradient, state), (other, other_gradient, other_state) in zip(shares, parts, strict=True):
        assert other.statistics == outcome.statistics
        assert other.statistics.ratio_error[0] == 0.0
        assert torch.equal(other.tree.leaves, outcome.tree.leaves)
        assert torch.equal(other_gradient, gradient)
        assert all(torch.equal(other_state[name], weight) for name, weight in state.items())
