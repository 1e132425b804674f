"""The edge loss: the clipped surrogate, the KL term and the weight of every edge."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from treegrpo.errors import UsageError
from treegrpo.method.objective import WEIGHTINGS, clipped_surrogate, edge_weights, gaussian_kl
from treegrpo.method.plan import TreePlan

from .test_advantage import bare_tree, random_tree, small_plans

relaxed = settings(max_examples=80, deadline=None, derandomize=True)


def brute_force(ratio, advantage, clip_range):
    """The surrogate by cases: the reward for moving ends at the clip range, the penalty for moving does not."""
    if advantage >= 0:
        return -advantage * min(ratio, 1 + clip_range)
    return -advantage * max(ratio, 1 - clip_range)


@given(
    st.lists(st.tuples(st.floats(0.2, 3.0), st.floats(-5, 5)), min_size=1, max_size=12),
    st.sampled_from([1e-4, 0.05, 0.2]),
)
@relaxed
def test_clipped_surrogate_against_cases(edges, clip_range):
    ratio, advantage = torch.tensor(edges, dtype=torch.float64).T
    ours = clipped_surrogate(ratio, advantage, clip_range)
    assert ours.tolist() == pytest.approx([brute_force(r, a, clip_range) for r, a in edges], rel=1e-12, abs=1e-15)


@pytest.mark.parametrize(
    ("ratio", "advantage", "slope"),
    [
        (1.0, 2.0, -2.0),  # the first pass: min and clamp tie, and the gradient must still be the whole advantage
        (1.0, -2.0, 2.0),
        (1.1, 2.0, -2.0),
        (1.3, 2.0, 0.0),  # moved far enough the right way
        (1.3, -2.0, 2.0),  # moved the wrong way: no limit
        (0.7, -2.0, 0.0),
        (0.7, 2.0, -2.0),
    ],
)
def test_gradient_of_the_clipped_surrogate(ratio, advantage, slope):
    at = torch.tensor(ratio, requires_grad=True)
    clipped_surrogate(at, torch.tensor(advantage), 0.2).backward()
    assert float(at.grad) == slope


@given(st.integers(0, 10_000), st.floats(0.01, 3.0))
@relaxed
def test_gaussian_kl_is_the_mean_of_the_exact_divergence(seed, std):
    generator = torch.Generator().manual_seed(seed)
    mean, reference = (torch.randn(3, 2, 4, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    normal = torch.distributions.Normal
    exact = torch.distributions.kl_divergence(normal(mean, std), normal(reference, std)).flatten(1).mean(1)
    torch.testing.assert_close(gaussian_kl(mean, reference, std), exact, rtol=1e-10, atol=1e-12)  # float64 roundings


@given(small_plans, st.integers(1, 3), st.sampled_from(WEIGHTINGS))
@relaxed
def test_edge_weights_sum_to_one(plan, prompts, weighting):
    tree, _ = random_tree(plan, prompts, seed=0)
    weights = edge_weights(tree, weighting)
    assert list(weights) == list(tree.trained_steps)
    total = sum(weight * len(tree.log_probs[t]) for t, weight in weights.items())
    assert total == pytest.approx(1, rel=1e-12)  # float64 roundings


@given(small_plans, st.integers(1, 3))
@relaxed
def test_steps_weighting_gives_every_step_the_same_share(plan, prompts):
    tree, _ = random_tree(plan, prompts, seed=0)
    shares = [weight * len(tree.log_probs[t]) for t, weight in edge_weights(tree, "steps").items()]
    assert shares == pytest.approx([1 / len(shares)] * len(shares), rel=1e-12)  # float64 roundings


def test_edges_weighting_of_the_paper():
    tree, _ = random_tree(TreePlan((3, 3, 3), (True, True, True)), prompts=2, seed=0)
    assert edge_weights(tree, "edges") == {0: 1 / 78, 1: 1 / 78, 2: 1 / 78}
    assert edge_weights(tree, "steps") == pytest.approx({0: 1 / 18, 1: 1 / 54, 2: 1 / 162}, rel=1e-12)


def test_weights_count_trained_edges_only():
    """The second step has no noise left, so it has no edges whatever the plan says."""
    tree = bare_tree(TreePlan((2, 1), (True, True)), {0: torch.zeros(2)})
    assert edge_weights(tree, "edges") == edge_weights(tree, "steps") == {0: 0.5}


def test_unknown_weighting_is_refused():
    tree, _ = random_tree(TreePlan((2,), (True,)), prompts=1, seed=0)
    with pytest.raises(UsageError) as refusal:
        edge_weights(tree, "leaves")
    assert all(word in str(refusal.value) for word in ('update.weighting: "leaves" is unknown', *WEIGHTINGS))
