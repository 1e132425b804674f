"""The update: exact first ratios, the whole gradient against a sum over single edges, KL, passes and skipped steps."""

from dataclasses import replace
from math import isfinite

import pytest
import torch

from tests.on_ranks import on_ranks
from treegrpo.bench.toy import BATCH, ToyPolicy, coordinate, scores
from treegrpo.errors import UsageError
from treegrpo.method.advantage import with_advantages
from treegrpo.method.grow import BatchSizes, grow
from treegrpo.method.objective import WEIGHTINGS, edge_weights
from treegrpo.method.plan import TreePlan, at_steps
from treegrpo.method.process import Kernel
from treegrpo.method.update import UpdateSettings, update

PLAN = TreePlan((1, 3, 1, 2, 1, 1), (False, True, False, True, True, False))
FREE = UpdateSettings(max_grad_norm=1e9)


def trained(dtype=torch.float64, dims=4, plan=PLAN, prompts=3, batch=BATCH):
    """A toy policy and its tree with advantages of the quadratic distance to z = 1."""
    policy = ToyPolicy(steps=6, dtype=dtype, dims=dims)
    tree = grow(policy, ["p"] * prompts, plan, Kernel("cps"), torch.Generator().manual_seed(0), batch)
    tree = tree.with_rewards({"toy": -((coordinate(tree.leaves) - 1) ** 2)})
    return policy, with_advantages(tree, {"toy": 1.0})


def descend(policy, rate=1.0):
    return torch.optim.SGD(policy.parameters(), lr=rate)


def moved_by(policy, tree, settings, batch=1000):
    """Gradient of the loss, from one step of plain gradient descent."""
    before = policy.theta.detach().clone()
    statistics = update(policy, tree, descend(policy), replace(settings, max_grad_norm=1e9), batch)
    return before - policy.theta.detach(), statistics


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("batch", [1, 4, 1000])
def test_first_ratios_are_exactly_1_and_later_ones_are_not(dtype, batch):
    policy, tree = trained(dtype, batch=BatchSizes(rollout=7, training=batch, decode=1))
    statistics = update(policy, tree, descend(policy, 0.1), UpdateSettings(passes=2), batch)
    assert statistics.ratio_error[0] == 0
    assert statistics.ratio_error[1] > 1e-4
    assert statistics.clip_fraction[0] == 0
    assert statistics.clip_fraction[1] > 0
    assert statistics.skipped == []


@pytest.mark.parametrize("weighting", WEIGHTINGS)
@pytest.mark.parametrize("batch", [2, 1000])
def test_gradient_is_the_weighted_sum_over_single_edges(weighting, batch):
    """At ratio 1 the gradient of the loss is - sum over edges of weight * A * grad log pi."""
    policy, tree = trained()
    expected = torch.zeros(6, dtype=torch.float64)
    for t, weight in edge_weights(tree, weighting).items():
        # scores() is for the sum over elements; the library's log-density is their mean
        expected[t] = -weight * (scores(policy, tree, t) * tree.edge_advantages[t]).sum() / policy.dims
    gradient, statistics = moved_by(policy, tree, UpdateSettings(weighting=weighting), batch)
    torch.testing.assert_close(gradient, expected, rtol=1e-10, atol=1e-14)  # float64 sums of 60 edges
    assert expected.count_nonzero() == 3
    assert statistics.grad_norm == pytest.approx([float(expected.norm())], rel=1e-10)
    loss = -sum(
        weight * float(tree.edge_advantages[t].double().sum()) for t, weight in edge_weights(tree, weighting).items()
    )
    assert statistics.loss == pytest.approx([loss], abs=1e-12)


def test_second_pass_is_the_clipped_gradient():
    """A second pass must use the old log-probabilities of the rollout; edges past the clip range drop out of it."""
    policy, tree = trained()
    settings = UpdateSettings(passes=2, clip_range=0.02, max_grad_norm=1e9)
    update(policy, tree, descend(policy, 0.5), replace(settings, passes=1), 1000)
    expected, live, edges = torch.zeros(6, dtype=torch.float64), 0, 0
    for t, weight in edge_weights(tree, "edges").items():
        step, k = tree.transitions[t], tree.plan.branch[t]
        with torch.no_grad():
            x0 = policy.denoise(tree.states[t], float(tree.sigmas[t]), tree.prompts_at(t))
        mean = step.mean(tree.states[t], x0).repeat_interleave(k, 0)
        log_prob = torch.distributions.Normal(mean, step.std).log_prob(tree.states[t + 1]).flatten(1).mean(1)
        ratio, advantage = (log_prob - tree.log_probs[t]).exp(), tree.edge_advantages[t]
        inside = torch.where(advantage > 0, ratio <= 1.02, ratio >= 0.98)
        expected[t] = -weight * (inside * ratio * advantage * scores(policy, tree, t)).sum() / policy.dims
        live, edges = live + int(inside.sum()), edges + len(inside)
    assert 0.2 * edges < live < 0.95 * edges  # the case means something only if a good part is clipped
    gradient, _ = moved_by(policy, tree, replace(settings, passes=1))
    torch.testing.assert_close(gradient, expected, rtol=1e-9, atol=1e-13)  # float64 sums of 60 edges


def test_two_passes_are_two_updates():
    (once, tree), (twice, _) = trained(), trained()
    settings = UpdateSettings(passes=1)
    first, second = descend(once, 0.1), descend(twice, 0.1)
    apart = [update(once, tree, first, settings, 1000) for _ in range(2)]
    together = update(twice, tree, second, replace(settings, passes=2), 1000)
    assert torch.equal(once.theta, twice.theta)
    for name in ("loss", "kl", "ratio_error", "clip_fraction", "grad_norm"):
        assert getattr(together, name) == [getattr(statistics, name)[0] for statistics in apart]


def test_batch_sizes_add_up_to_the_same_gradient():
    gradients = []
    for batch in (1, 2, 5, 1000):
        policy, tree = trained()
        gradients.append(moved_by(policy, tree, UpdateSettings(kl=0.1), batch)[0])
    for gradient in gradients[1:]:
        torch.testing.assert_close(gradient, gradients[0], rtol=1e-10, atol=1e-14)  # order of float64 sums


def test_updates_raise_the_reward():
    policy = ToyPolicy(steps=6, dims=1)
    optimizer = torch.optim.Adam(policy.parameters(), lr=0.05)
    generator, history = torch.Generator().manual_seed(0), []
    for _ in range(30):
        tree = grow(policy, ["p"] * 20, at_steps(6, (1, 2, 3), 3), Kernel("cps"), generator, BATCH)
        reward = -((coordinate(tree.leaves) - 1) ** 2)
        history.append(float(reward.mean()))
        tree = with_advantages(tree.with_rewards({"toy": reward}), {"toy": 1.0})
        update(policy, tree, optimizer, UpdateSettings(), 1000)
    assert sum(history[-5:]) / 5 > sum(history[:5]) / 5 + 0.2


def without_rewards(tree):
    return replace(tree, edge_advantages={t: torch.zeros_like(a) for t, a in tree.edge_advantages.items()})


def test_kl_is_zero_at_the_base_model_and_pulls_towards_it():
    policy, tree = trained()
    still = without_rewards(tree)
    gradient, statistics = moved_by(policy, still, UpdateSettings(kl=0.5))
    # Toy means differ from the base's by b theta / sqrt(dims) in every element: KL (b theta / std)^2 / 2 / dims.
    shares = {t: weight * len(tree.log_probs[t]) for t, weight in edge_weights(tree, "edges").items()}
    pull = {t: shares[t] * (tree.transitions[t].b / tree.transitions[t].std) ** 2 / policy.dims for t in shares}
    assert statistics.kl == pytest.approx([sum(p * 0.1**2 / 2 for p in pull.values())], rel=1e-9)  # theta is 0.1
    assert gradient.tolist() == pytest.approx([0.5 * pull.get(t, 0.0) * 0.1 for t in range(6)], rel=1e-9)
    assert statistics.loss == pytest.approx([0.5 * statistics.kl[0]], rel=1e-9)
    for t in tree.trained_steps:
        assert float(gradient[t]) > 0  # theta is above the base's 0 and goes down

    policy.load_adapter_state({"theta": torch.zeros(6)})
    gradient, statistics = moved_by(policy, still, UpdateSettings(kl=0.5))
    assert statistics.kl == [0.0]
    assert torch.equal(gradient, torch.zeros(6, dtype=torch.float64))


def test_kl_adds_to_the_gradient_of_the_rewards():
    gradients = []
    for kl, change in [(0.0, None), (0.5, without_rewards), (0.5, None)]:
        policy, tree = trained()
        gradients.append(moved_by(policy, change(tree) if change else tree, UpdateSettings(kl=kl))[0])
    torch.testing.assert_close(gradients[0] + gradients[1], gradients[2], rtol=1e-9, atol=1e-14)  # float64 sums


def test_no_kl_no_reference_calls():
    for kl, calls in [(0.0, 1), (0.1, 2)]:
        policy, tree = trained()
        policy.calls.clear()
        update(policy, tree, descend(policy), UpdateSettings(kl=kl), 1000)
        assert sum(policy.calls) == calls * 3 * PLAN.cost().trained_nodes
        assert policy.active


def test_every_node_is_trained_with_its_own_prompt():
    policy, tree = trained()
    policy.heard.clear()
    update(policy, replace(tree, prompts=("a", "b", "c")), descend(policy), UpdateSettings(), 4)
    assert policy.heard == [name for t in (1, 3, 4) for name in "abc" for _ in range(PLAN.nodes(t))]


def test_gradients_are_clipped_by_their_norm():
    policy, tree = trained()
    whole, _ = moved_by(policy, tree, FREE)
    policy, tree = trained()
    before = policy.theta.detach().clone()
    statistics = update(policy, tree, descend(policy), UpdateSettings(max_grad_norm=0.01), 1000)
    assert statistics.grad_norm == pytest.approx([float(whole.norm())])  # before clipping
    step = before - policy.theta.detach()
    assert float(step.norm()) == pytest.approx(0.01, rel=1e-3)  # torch divides by norm + 1e-6
    torch.testing.assert_close(step / step.norm(), whole / whole.norm(), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_advantages_that_are_not_finite_skip_the_step(bad):
    policy, tree = trained()
    tree.edge_advantages[3][1] = bad
    before, optimizer = policy.theta.detach().clone(), torch.optim.Adam(policy.parameters(), lr=0.1)
    statistics = update(policy, tree, optimizer, UpdateSettings(passes=2), 1000)
    sigma = float(tree.sigmas[3])
    assert (
        statistics.skipped
        == [f"update skipped: the loss of step 3 (sigma {sigma:.4f}) is not finite in torch.float64"] * 2
    )
    assert torch.equal(policy.theta, before)
    assert policy.theta.grad is None  # the part of the gradient that was finite is gone
    assert not optimizer.state  # nor did the optimiser see it


def skip_together(ranks):
    """(statistics, parameters) of two passes, the advantages of the second rank being broken."""
    policy, tree = trained()
    if ranks.rank == 1:
        tree.edge_advantages[3][1] = float("nan")
    statistics = update(
        policy, tree, torch.optim.Adam(policy.parameters()), UpdateSettings(passes=2), 1000, ranks=ranks
    )
    return statistics, policy.theta.tolist()


def test_ranks_skip_a_step_together():
    (ours, theta), (theirs, others) = on_ranks(skip_together)
    assert ours.skipped == theirs.skipped
    assert len(ours.skipped) == 2
    assert "the loss of step 3" in ours.skipped[0]
    assert theta == others == [0.1] * 6


def test_weights_that_are_not_finite_skip_the_step():
    policy, tree = trained(dtype=torch.float32)
    with torch.no_grad():
        policy.theta[1] = float("nan")
    statistics = update(policy, tree, descend(policy), UpdateSettings(), 1000)
    assert len(statistics.skipped) == 1
    assert "step 1" in statistics.skipped[0]
    assert "torch.float32" in statistics.skipped[0]
    assert policy.theta.detach()[[0, 2, 3, 4, 5]].tolist() == pytest.approx([0.1] * 5)


def test_a_divergence_that_is_not_finite_skips_the_step_and_counts_nowhere():
    policy, tree = trained()
    with torch.no_grad():
        policy.theta[1] = float("nan")
    statistics = update(policy, tree, descend(policy), UpdateSettings(kl=0.5), 1000)
    assert len(statistics.skipped) == 1
    assert isfinite(statistics.kl[0])
    assert isfinite(statistics.loss[0])


def test_gradients_that_are_not_finite_skip_the_step():
    """A finite loss with a gradient that overflows: the last guard before the optimiser."""
    policy, tree = trained()
    before = policy.theta.detach().clone()
    policy.theta.register_hook(lambda gradient: gradient * float("inf"))
    statistics = update(policy, tree, descend(policy), UpdateSettings(), 1000)
    assert statistics.skipped == ["update skipped: the gradient is not finite in torch.float64"]
    assert torch.equal(policy.theta, before)


def test_a_step_that_would_leave_weights_that_are_not_finite_is_taken_back():
    policy, tree = trained()
    before = policy.theta.detach().clone()
    statistics = update(policy, tree, descend(policy, float("inf")), UpdateSettings(passes=2), 1000)
    assert statistics.skipped == ["update skipped: a weight would not be finite after it; lower the learning rate"] * 2
    assert statistics.ratio_error == [0.0, 0.0], "the second pass saw the same weights"
    assert torch.equal(policy.theta, before)


def test_a_skipped_pass_does_not_stop_the_next_one():
    policy, tree = trained()
    blows = iter([float("inf"), 1.0, 1.0, 1.0, 1.0, 1.0])
    policy.theta.register_hook(lambda gradient: gradient * next(blows))
    before = policy.theta.detach().clone()
    statistics = update(policy, tree, descend(policy), UpdateSettings(passes=2), 1000)
    assert len(statistics.skipped) == 1
    assert not torch.equal(policy.theta, before)


def test_every_list_has_one_entry_per_pass():
    for bad in (0.0, float("nan")):
        policy, tree = trained()
        tree.edge_advantages[3][1] += bad
        statistics = update(policy, tree, descend(policy), UpdateSettings(passes=3), 1000)
        lists = (statistics.loss, statistics.kl, statistics.ratio_error, statistics.clip_fraction)
        assert [len(entries) for entries in (*lists, statistics.grad_norm)] == [3] * 5


def test_trees_without_advantages_are_refused():
    policy, tree = trained()
    with pytest.raises(UsageError, match="no advantages yet"):
        update(policy, replace(tree, edge_advantages={}), descend(policy), UpdateSettings(), 10)
