"""Growing: shape and order of the tree, independence of batch sizes, noise, and what is refused."""

import math

import pytest
import torch

from treegrpo.bench.toy import ToyPolicy, coordinate
from treegrpo.errors import RunError, UsageError
from treegrpo.method.grow import BatchSizes, batched, grow, transitions
from treegrpo.method.plan import TreePlan, at_steps
from treegrpo.method.process import KERNELS, Kernel, Path, ode
from treegrpo.method.sample import sample

CPS = Kernel("cps")
PLAN = TreePlan((1, 3, 1, 2, 1, 1), (False, True, False, True, True, False), roots=2)
WHOLE = BatchSizes(rollout=1000, training=1000, decode=1000)


def toy(dims=4, dtype=torch.float64, path=Path.FLOW):
    return ToyPolicy(steps=6, path=path, dims=dims, dtype=dtype)


def grown(plan=PLAN, policy=None, prompts=("a", "b", "c"), seed=0, batch=WHOLE, kernel=CPS, **rest):
    return grow(policy or toy(), prompts, plan, kernel, torch.Generator().manual_seed(seed), batch, **rest)


def test_levels_have_the_sizes_of_the_plan():
    tree = grown()
    assert tree.trained_steps == tuple(tree.log_probs) == (1, 3, 4)
    assert set(tree.states) == {1, 2, 3, 4, 5, 6}
    assert set(tree.denoised) == {1, 3, 4}
    for t, states in tree.states.items():
        assert states.shape == (3 * PLAN.nodes(t), 1, 1, 4)
    for t in tree.trained_steps:
        assert tree.denoised[t].shape == tree.states[t].shape
        assert tree.log_probs[t].shape == (3 * PLAN.nodes(t + 1),)
    assert tree.leaves.shape == (36, 1, 1, 4)
    assert tree.prompts_at(1) == ["a", "a", "b", "b", "c", "c"]
    assert tree.prompts_at(2) == ["a"] * 6 + ["b"] * 6 + ["c"] * 6


def test_only_the_ends_of_trained_steps_are_kept():
    tree = grown(at_steps(6, (2,), 2))
    assert set(tree.states) == {2, 3, 6}


def test_children_lie_around_the_mean_of_their_parent():
    """Every child of node i // k, and no other node, must differ from that node's mean by noise of the step's std."""
    policy = toy(dims=400)
    tree = grown(policy=policy, kernel=Kernel("cps", 0.02))  # so little noise that families lie far apart
    for t in tree.trained_steps:
        k, step = PLAN.branch[t], tree.transitions[t]
        x0 = policy.denoise(tree.states[t], float(tree.sigmas[t]), tree.prompts_at(t))
        means = step.mean(tree.states[t], x0).flatten(1)
        children = tree.states[t + 1].flatten(1)
        distances = torch.cdist(children, means) / 400**0.5 / step.std
        parents = torch.arange(len(children)) // k
        own = distances[torch.arange(len(children)), parents]
        # RMS of 400 unit normals: 1 with a standard deviation of 1 / sqrt(800) = 0.035.
        assert ((own - 1).abs() < 5 * 0.036).all()
        if t == 1:  # later means of one family may be close; here every node has its own root
            assert torch.equal(distances.argmin(1), parents)
        torch.testing.assert_close(x0.detach(), tree.denoised[t], rtol=0, atol=0)


def test_children_of_one_node_share_their_mean_but_not_their_noise():
    """x' = mean + std * noise: the noises are independent unit normals, so siblings have correlation 0 around it."""
    policy, plan = toy(dims=1), at_steps(6, (2,), 2)
    tree = grown(plan, policy, prompts=["p"] * 4000)
    step = tree.transitions[2]
    x0 = policy.denoise(tree.states[2], float(tree.sigmas[2]), tree.prompts_at(2)).detach()
    mean = step.mean(tree.states[2], x0)
    noise = ((tree.states[3].view(-1, 2) - mean.view(-1, 1)) / step.std).T
    for row in noise:
        assert abs(float(row.mean())) < 4 / 4000**0.5  # 4 standard errors
        assert abs(float(row.std()) - 1) < 4 / 8000**0.5
    assert abs(float((noise[0] * noise[1]).mean())) < 4 / 4000**0.5


def test_deterministic_steps_follow_the_ode():
    policy = toy()
    tree = grown(policy=policy)
    sigmas, x = tree.sigmas.tolist(), tree.states[5]
    with torch.no_grad():
        x0 = policy.denoise(x, sigmas[5], tree.prompts_at(5))
    torch.testing.assert_close(tree.leaves, ode(Path.FLOW, sigmas[5], sigmas[6]).mean(x, x0), rtol=0, atol=0)
    assert [step.std > 0 for step in tree.transitions] == list(PLAN.stochastic)


def test_ode_prefix_is_plain_sampling():
    """Before the window the trees follow the sampler that judges a finished adapter, from the same noise."""
    plan = at_steps(6, (4,), 2)
    policy = toy()
    tree = grown(plan, policy, kernel=Kernel("dance_sde", 1e-6), seed=3)
    plain = sample(policy, ["a", "b", "c"], 6, torch.Generator().manual_seed(3), WHOLE)
    torch.testing.assert_close(tree.leaves[::2], plain, rtol=0, atol=1e-5)  # noise of 1e-6 at one step


@pytest.mark.parametrize("sizes", [(1, 1), (5, 2), (7, 36), (36, 7)])
def test_batch_sizes_do_not_change_the_tree(sizes):
    """Exact, since the toy treats every row alone: what could differ is the noise and the order."""
    whole, parts = grown(), grown(batch=BatchSizes(*sizes, decode=1))
    for name in ("states", "denoised", "log_probs"):
        ours, theirs = getattr(whole, name), getattr(parts, name)
        assert ours.keys() == theirs.keys()
        assert all(torch.equal(ours[t], theirs[t]) for t in ours)


def test_network_calls_stay_within_the_batch_sizes_and_count_as_planned():
    policy = toy()
    grown(policy=policy, batch=BatchSizes(rollout=5, training=4, decode=1))
    assert sum(policy.calls) == 3 * PLAN.cost().evaluations
    by_step = {0: [5, 1], 1: [4, 2], 2: [5, 5, 5, 3], 3: [4, 4, 4, 4, 2], 4: [4] * 9, 5: [5] * 7 + [1]}
    assert policy.calls == [size for sizes in by_step.values() for size in sizes]


def test_every_node_is_evaluated_with_its_own_prompt():
    """Prompts come first in the order of nodes, so the rows of a level name them in blocks."""
    policy = toy()
    grown(policy=policy, prompts=("a", "b"), batch=BatchSizes(rollout=5, training=4, decode=1))
    assert policy.heard == [name for t in range(6) for name in "ab" for _ in range(PLAN.nodes(t))]


def test_same_seed_same_tree_other_seed_other_tree():
    first, second, other = grown(seed=4), grown(seed=4), grown(seed=5)
    assert torch.equal(first.leaves, second.leaves)
    assert not torch.isclose(first.leaves, other.leaves).any()


def test_roots_share_their_noise_when_the_plan_says_so():
    for shared in (False, True):
        tree = grown(TreePlan((1, 1, 1, 1, 1, 1), (True,) + (False,) * 5, roots=3, shared_noise=shared))
        roots = tree.states[0].view(3, 3, 4)  # prompts, roots, elements
        same = roots == roots[:, :1]
        assert bool(same.all()) is shared
        assert not torch.isclose(roots[0, 0], roots[1, 0]).any()  # prompts never share
        assert not torch.isclose(tree.states[1].view(9, 4)[0], tree.states[1].view(9, 4)[1]).any()  # nor do edges


def test_roots_are_noise_of_the_first_sigma():
    policy = toy(dims=1, path=Path.VE)
    tree = grown(TreePlan((2,) + (1,) * 5, (True,) + (False,) * 5), policy, ["p"] * 4000)
    assert float(tree.sigmas[0]) > 3
    spread = float(tree.states[0].std()) / float(tree.sigmas[0])
    assert abs(spread - 1) < 4 / 8000**0.5  # 4 standard errors of a standard deviation from 4000 samples


@pytest.mark.parametrize("kernel", [Kernel("cps"), Kernel("flow_sde"), Kernel("dance_sde"), Kernel("ddim", 0.5)])
def test_log_probs_recomputed_from_the_states(kernel):
    policy = toy(dims=16)
    tree = grown(policy=policy, kernel=kernel)
    for t in tree.trained_steps:
        step = tree.transitions[t]
        with torch.no_grad():
            x0 = policy.denoise(tree.states[t], float(tree.sigmas[t]), tree.prompts_at(t))
        for child, row in enumerate(tree.states[t + 1]):
            parent = child // PLAN.branch[t]
            mean = step.a * tree.states[t][parent] + step.b * x0[parent]
            exact = torch.distributions.Normal(mean, step.std).log_prob(row).mean()
            assert float(tree.log_probs[t][child]) == pytest.approx(float(exact), rel=1e-12)  # float64 roundings


def test_log_probs_have_the_expectation_of_a_gaussian():
    """E log N(x; m, s^2) = -log s - (1 + log 2 pi) / 2, whatever the step."""
    tree = grown(prompts=["p"] * 300, policy=toy(dims=16))
    for t in tree.trained_steps:
        logs, expected = tree.log_probs[t], -math.log(tree.transitions[t].std) - (1 + math.log(2 * math.pi)) / 2
        error = 1 / (2 * 16 * len(logs)) ** 0.5  # chi-square / 2 over 16 elements has variance 1 / 32
        assert abs(float(logs.mean()) - expected) < 4 * error


@pytest.mark.parametrize("kernel", KERNELS)
def test_a_step_to_sigma_0_is_that_of_the_ode(kernel):
    """Whatever noise the reverse SDEs of flow_sde and dance_sde have there would stay in the picture."""
    plan = TreePlan((2, 1, 1, 1, 1, 1), (True,) * 6)
    tree = grown(plan, kernel=Kernel(kernel))
    last = tree.sigmas.tolist()[5]
    assert tree.trained_steps == (0, 1, 2, 3, 4)
    assert tree.transitions[5] == ode(Path.FLOW, last, 0.0)
    assert 5 not in tree.denoised


@pytest.mark.parametrize("kernel", KERNELS)
def test_branching_without_noise_is_refused(kernel):
    with pytest.raises(UsageError) as refusal:
        grown(at_steps(6, (4, 5), 2), kernel=Kernel(kernel))
    for words in ("step 5 branches", "no noise is added", "to 0.0000", "end the window before it"):
        assert words in str(refusal.value)


def test_rollouts_without_any_noise_are_refused():
    with pytest.raises(UsageError, match="plan: no noise is added at any stochastic step"):
        grown(TreePlan((1,) * 6, (False,) * 5 + (True,), roots=4))


def test_flow_kernels_are_refused_on_the_ve_path():
    with pytest.raises(UsageError, match="flow models only"):
        transitions(toy(path=Path.VE), PLAN, Kernel("dance_sde"), toy(path=Path.VE).sigmas(6))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_predictions_that_are_not_finite_name_step_and_dtype(bad, dtype):
    policy = toy(dtype=dtype)
    with torch.no_grad():
        policy.theta[3] = bad
    with pytest.raises(RunError) as failure:
        grown(policy=policy)
    sigma = policy.sigmas(6).tolist()[3]
    assert f"step 3 (sigma {sigma:.4f}) is not finite in {dtype}" in str(failure.value)


def test_listeners_hear_of_every_step():
    heard = []
    tree = grown(on_step=lambda t, x0: heard.append((t, x0)))
    assert [t for t, _ in heard] == [0, 1, 2, 3, 4, 5]
    assert [len(x0) for _, x0 in heard] == [3 * PLAN.nodes(t) for t in range(6)]
    assert torch.equal(heard[3][1], tree.denoised[3])


def test_growing_keeps_no_gradient():
    tree = grown()
    assert not any(tensor.requires_grad for kept in (tree.states, tree.log_probs) for tensor in kept.values())


def test_float32_policies_give_float32_trees():
    tree = grown(policy=toy(dtype=torch.float32))
    assert {kept[t].dtype for kept in (tree.states, tree.log_probs) for t in kept} == {torch.float32}


def test_rewards_are_shaped_per_prompt():
    tree = grown()
    rewards = coordinate(tree.leaves)
    scored = tree.with_rewards({"toy": rewards})
    assert torch.equal(scored.rewards["toy"], rewards.view(3, 12))
    assert not tree.rewards


def test_batched_concatenates_in_order():
    numbers, names = torch.arange(7), list("abcdefg")
    seen = []

    def call(rows, texts):
        seen.append("".join(texts))
        return rows * 10

    assert torch.equal(batched(call, 3, numbers, names), numbers * 10)
    assert seen == ["abc", "def", "g"]
