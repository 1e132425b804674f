"""Advantages: normalisation within the group, mixing, and the way from the leaves up to every edge."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from treegrpo.errors import UsageError
from treegrpo.method.advantage import (
    BACKUPS,
    CENTRINGS,
    MIXINGS,
    back_up,
    correlation,
    edge_shares,
    group_advantages,
    logprob_weights,
    mean_weights,
    mix,
    with_advantages,
    zero_spread,
)
from treegrpo.method.plan import TreePlan
from treegrpo.method.process import Step
from treegrpo.method.tree import Tree

relaxed = settings(max_examples=80, deadline=None, derandomize=True)


def bare_tree(plan, log_probs, prompts=1):
    """A tree of which only the shape and the log-probabilities matter."""
    sigmas = torch.linspace(1, 0, plan.steps + 1)
    steps = tuple(Step(1.0, 0.0, 0.1 if t in log_probs else 0.0) for t in range(plan.steps))
    leaves = torch.zeros(prompts * plan.leaves, 1, 1, 1)
    return Tree(plan, sigmas, steps, ("p",) * prompts, {plan.steps: leaves}, {}, log_probs)


def random_tree(plan, prompts, seed, scale=1.0):
    """A bare tree with random log-probabilities, and random leaf values [prompts, leaves]."""
    generator = torch.Generator().manual_seed(seed)
    log_probs = {
        t: scale * torch.randn(prompts * plan.nodes(t + 1), generator=generator) for t in plan.stochastic_steps
    }
    return bare_tree(plan, log_probs, prompts), torch.randn(prompts, plan.leaves, generator=generator)


groups = st.tuples(st.integers(1, 4), st.integers(2, 30), st.integers(0, 10_000)).map(
    lambda drawn: torch.randn(drawn[0], drawn[1], generator=torch.Generator().manual_seed(drawn[2]))
)
small_plans = st.sampled_from(
    [
        TreePlan((1, 3, 2, 1), (False, True, True, False)),
        TreePlan((2, 1, 1, 2), (True, True, True, True)),
        TreePlan((1, 2, 1, 2), (False, True, False, True), roots=2),
        TreePlan((1, 1, 1), (False, True, True), roots=5),
    ]
)


@given(groups)
@relaxed
def test_group_advantages_have_zero_mean_and_unit_spread(rewards):
    advantages = group_advantages(rewards)
    # Sums of 30 float32 numbers of size 1; the 1e-8 in the divisor and two leaves that nearly agree widen the error.
    assert advantages.mean(1).abs().max() < 1e-4
    torch.testing.assert_close(advantages.std(1, correction=0), torch.ones(len(rewards)), rtol=1e-4, atol=0)


@given(groups, st.floats(0.01, 100), st.floats(-10, 10))
@relaxed
def test_group_advantages_do_not_change_with_scale_and_offset(rewards, scale, offset):
    rewards = rewards.double()  # so that the offset costs no digits; what is left is the 1e-8 in the divisor,
    # and one float32 rounding of the result
    moved = scale * rewards + offset
    spread = float(torch.minimum(rewards.std(1, correction=0), moved.std(1, correction=0)).min())
    ours, theirs = group_advantages(moved).double(), group_advantages(rewards).double()
    torch.testing.assert_close(ours, theirs, rtol=2e-6, atol=1e-6 + 1e-7 / spread)


def test_group_advantages_are_taken_per_prompt_and_in_order():
    rewards = torch.tensor([[1.0, 2.0, 3.0], [30.0, 10.0, 20.0]])
    unit = math.sqrt(1.5)
    expected = torch.tensor([[-unit, 0.0, unit], [unit, -unit, 0.0]])
    torch.testing.assert_close(group_advantages(rewards), expected, rtol=1e-6, atol=1e-7)  # float32 roundings


@given(st.floats(-100, 100, width=32), st.integers(2, 81))
@relaxed
def test_zero_spread_gives_zeros(value, leaves):
    rewards = torch.full((2, leaves), value)
    assert torch.equal(group_advantages(rewards), torch.zeros(2, leaves))
    assert zero_spread({"a": rewards}) == 2


def test_zero_spread_counts_prompts_that_no_reward_tells_apart():
    equal, near, far = [0.1, 0.1, 0.1], [0.1, 0.1, 0.2], [5.0, 5.0, 5.0]
    assert zero_spread({"a": torch.tensor([equal, near, far, [1.0, 2.0, 3.0]])}) == 2
    assert zero_spread({"a": torch.tensor([equal, equal, near]), "b": torch.tensor([far, near, far])}) == 1


@given(groups, st.floats(0, 2), st.floats(-2, 2))
@relaxed
def test_mixing_normalises_before_it_weighs(rewards, first, second):
    other = 1000 * rewards.flip(1) ** 2 + 5
    mixed = mix({"a": rewards, "b": other}, {"b": second, "a": first})
    expected = first * group_advantages(rewards) + second * group_advantages(other)
    torch.testing.assert_close(mixed, expected, rtol=1e-6, atol=1e-6)  # float32 sums of two numbers of size 1
    # The scale of one reward must not matter: this is what summing the raw rewards would get wrong.
    torch.testing.assert_close(
        mix({"a": 64 * rewards, "b": other}, {"a": first, "b": second}), mixed, rtol=1e-3, atol=1e-3
    )  # 64 is exact in float32; the 1e-8 in the divisor is all that differs


@given(groups, st.floats(0.1, 2), st.floats(-2, 2))
@relaxed
def test_a_raw_sum_is_normalised_once_and_keeps_the_scales(rewards, first, second):
    other = 1000 * rewards.flip(1) ** 2 + 5
    mixed = mix({"a": rewards, "b": other}, {"b": second, "a": first}, "sum")
    torch.testing.assert_close(mixed, group_advantages(first * rewards + second * other), rtol=1e-4, atol=1e-4)
    # A reward a million times as large decides alone: to float32, the others vanish beside it.
    loud = mix({"a": 2.0**40 * rewards, "b": other}, {"a": first, "b": second}, "sum")
    spread = float(rewards.std(1, correction=0).min())
    torch.testing.assert_close(loud, group_advantages(rewards), rtol=0, atol=1e-5 + 1e-5 / spread)


@given(groups)
@relaxed
def test_mixings_agree_on_one_reward(rewards):
    for mixing in MIXINGS:  # 1.0 times a float32 is that float32
        assert torch.equal(mix({"a": rewards}, {"a": 1.0}, mixing), group_advantages(rewards))


def test_mixings_by_hand():
    """Deviations (-1, 1) and (4, -4): opposed advantages of size 1, and a sum in which the second drowns the first."""
    rewards, weights = {"a": torch.tensor([[1.0, 3.0]]), "b": torch.tensor([[8.0, 0.0]])}, {"a": 2.0, "b": 1.0}
    assert mix(rewards, weights, "normalise").tolist() == [[pytest.approx(-1.0), pytest.approx(1.0)]]
    assert mix(rewards, weights, "sum").tolist() == [[pytest.approx(1.0), pytest.approx(-1.0)]]


@given(groups)
@relaxed
def test_backups_agree_when_log_probs_are_equal(values):
    log_probs = torch.full_like(values, -3.7)
    # The softmax of equal numbers is 1 / k up to one float32 rounding per child.
    torch.testing.assert_close(logprob_weights(log_probs), mean_weights(log_probs), rtol=1e-5, atol=0)


@given(st.integers(1, 6), st.integers(1, 20), st.floats(0.1, 30), st.integers(0, 100))
@relaxed
def test_weights_of_siblings_are_shares(nodes, children, scale, seed):
    log_probs = scale * torch.randn(nodes, children, generator=torch.Generator().manual_seed(seed))
    for weights in (backup(log_probs) for backup in BACKUPS.values()):
        assert weights.shape == log_probs.shape
        assert (weights >= 0).all()
        torch.testing.assert_close(weights.sum(1), torch.ones(nodes), rtol=0, atol=1e-5)  # float32 roundings


def test_logprob_backup_weighs_by_probability():
    weights = logprob_weights(torch.tensor([[math.log(0.6), math.log(0.2)]]))
    assert weights[0].tolist() == pytest.approx([0.75, 0.25], rel=1e-6)  # float32


def two_levels():
    """Two steps with two children each, probabilities 3:1 below the first node and 1:4 below the second."""
    plan = TreePlan((2, 1, 2, 1), (True, False, True, False))
    log_probs = {0: torch.tensor([-1.0, -2.0]), 2: torch.tensor([0.75, 0.25, 0.2, 0.8]).log() - 5}
    return bare_tree(plan, log_probs), torch.tensor([[1.0, 2.0, 4.0, -6.0]])


@pytest.mark.parametrize(
    ("backup", "centring", "upper", "lower"),
    [
        ("mean", "none", [1.5, -1.0], [1.0, 2.0, 4.0, -6.0]),
        ("mean", "siblings", [1.25, -1.25], [-0.5, 0.5, 5.0, -5.0]),
        ("logprob", "none", [1.25, -4.0], [1.0, 2.0, 4.0, -6.0]),
        ("logprob", "siblings", [2.625, -2.625], [-0.5, 0.5, 5.0, -5.0]),
    ],
)
def test_two_levels_by_hand(backup, centring, upper, lower):
    tree, leaves = two_levels()
    edges = back_up(tree, leaves, backup, centring)
    assert list(edges) == [0, 2]
    assert edges[0].tolist() == pytest.approx(upper, rel=1e-6)  # float32
    assert edges[2].tolist() == pytest.approx(lower, rel=1e-6)


@pytest.mark.parametrize(
    ("backup", "upper", "lower"),
    [
        ("mean", [0.5, 0.5], [0.25] * 4),
        ("logprob", [0.7310586, 0.2689414], [0.5482940, 0.1827646, 0.0537883, 0.2151531]),
    ],
)
def test_shares_by_hand(backup, upper, lower):
    """The softmax of -1 and -2 is 0.731 to 0.269; below it 3:1 and 1:4."""
    tree, _ = two_levels()
    shares = edge_shares(tree, backup)
    assert shares[0].tolist() == pytest.approx(upper, rel=1e-6)  # float32
    assert shares[2].tolist() == pytest.approx(lower, rel=1e-6)


@given(small_plans, st.integers(1, 3), st.integers(0, 1000), st.sampled_from(list(BACKUPS)))
@relaxed
def test_shares_carry_the_leaves_to_the_roots(plan, prompts, seed, backup):
    """Weighing the leaves by their shares gives what the backup finds at the roots."""
    tree, leaves = random_tree(plan, prompts, seed)
    first, last = tree.trained_steps[0], tree.trained_steps[-1]
    k = plan.branch[first]
    weights = BACKUPS[backup](tree.log_probs[first].view(-1, k))
    roots = (weights * back_up(tree, leaves, backup)[first].view(-1, k)).sum(1)
    weighed = (edge_shares(tree, backup)[last] * leaves.flatten()).view(len(roots), -1).sum(1)
    torch.testing.assert_close(weighed, roots, rtol=0, atol=1e-5)  # float32 sums of numbers of size 1


def test_correlation_by_hand():
    """Deviations a: (-1, 0, 1), (0, 0, 0); b: (1, -2, 1), (-1, 0, 1); c: (-2, 0, 2), (0, 0, 0)."""
    rewards = {
        "a": torch.tensor([[1.0, 2.0, 3.0], [0.1, 0.1, 0.1]]),
        "b": torch.tensor([[4.0, 1.0, 4.0], [100.0, 101.0, 102.0]]),
        "c": torch.tensor([[1.0, 3.0, 5.0], [-7.0, -7.0, -7.0]]),
    }
    found = correlation(rewards)
    assert list(found) == ["a ~ b", "a ~ c", "b ~ c"]
    assert found == {"a ~ b": 0.0, "a ~ c": pytest.approx(1.0, rel=1e-12), "b ~ c": 0.0}  # float64
    shuffled = correlation({"a": rewards["a"], "b": torch.tensor([[4.0, 2.0, 3.0], [9.0, 0.0, 0.0]])})
    assert shuffled["a ~ b"] == pytest.approx(-1 / math.sqrt(2 * (2 + 54)), rel=1e-6)  # float32 rewards


@given(groups, st.floats(-3, 3))
@relaxed
def test_correlation_is_of_what_differs_within_prompts(rewards, offset):
    """Neither the scale of a reward nor what a prompt is worth as a whole counts; the sign of the scale does."""
    moved = 2 * rewards.double() + offset * torch.arange(len(rewards))[:, None]
    for sign in (1.0, -1.0):
        found = correlation({"a": rewards, "b": sign * moved})["a ~ b"]
        assert found == pytest.approx(sign, abs=1e-6)  # the offset is rounded where leaves nearly agree


def test_there_is_no_correlation_without_spread_or_votes():
    plain, lost = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.full((2, 2), torch.nan)
    assert correlation({"a": plain}) == {}
    assert correlation({"a": plain, "b": torch.full((2, 2), 0.1), "c": lost}) == {
        "a ~ b": None,
        "a ~ c": None,
        "b ~ c": None,
    }
    half = torch.tensor([[torch.nan, torch.nan], [5.0, 4.0]])
    assert correlation({"a": plain, "b": half}) == {"a ~ b": pytest.approx(-1.0)}


def test_a_prompt_that_one_reward_left_out_teaches_nothing():
    rewards = {"a": torch.tensor([[1.0, 2.0], [1.0, 2.0]]), "b": torch.tensor([[torch.nan, torch.nan], [0.0, 1.0]])}
    assert mix(rewards, {"a": 1.0, "b": 0.5}).tolist() == [[0.0, 0.0], [-1.5, 1.5]]
    assert mix(rewards, {"a": 1.0, "b": 0.5}, "sum").tolist() == [[0.0, 0.0], [-1.0, 1.0]]
    assert zero_spread(rewards) == 1


@given(groups, st.integers(0, 10_000))
@relaxed
def test_leaves_that_are_not_judged_get_nothing_and_do_not_count(rewards, seed):
    """The others have the advantages that they have among themselves."""
    unknown = torch.rand(rewards.shape, generator=torch.Generator().manual_seed(seed)) < 0.4
    found = group_advantages(rewards.masked_fill(unknown, torch.nan))
    for row, missing, advantages in zip(rewards, unknown, found, strict=True):
        assert not advantages[missing].any()
        if not missing.all():
            alone = group_advantages(row[~missing][None])[0]
            # The same sums in another order, over what may be a spread of two values that nearly agree.
            torch.testing.assert_close(advantages[~missing], alone, rtol=1e-3, atol=1e-4)


def test_a_leaf_that_one_reward_did_not_judge_teaches_nothing():
    a, b = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[torch.nan, 0.0, 1.0]])
    for mixing in MIXINGS:
        mixed = mix({"a": a, "b": b}, {"a": 1.0, "b": 1.0}, mixing)
        assert mixed[0, 0] == 0
        assert torch.equal(mixed[0, 1:], mix({"a": a[:, 1:], "b": b[:, 1:]}, {"a": 1.0, "b": 1.0}, mixing)[0])
    assert zero_spread({"a": a, "b": b}) == 0
    assert zero_spread({"a": a, "b": torch.tensor([[torch.nan, 1.0, torch.nan]])}) == 1, "one leaf has no other to beat"


def test_defaults_are_the_papers():
    tree, leaves = two_levels()
    rewards, weights = {"a": leaves, "b": leaves**2}, {"a": 1.0, "b": 1.0}
    assert torch.equal(mix(rewards, weights), mix(rewards, weights, "normalise"))
    plain, named = back_up(tree, leaves), back_up(tree, leaves, "logprob", "none")
    assert all(torch.equal(plain[t], named[t]) for t in named)


def test_prompts_do_not_mix():
    tree, leaves = random_tree(TreePlan((3, 2), (True, True)), prompts=3, seed=0)
    alone, _ = random_tree(TreePlan((3, 2), (True, True)), prompts=1, seed=0)
    together = back_up(tree, leaves)
    for p in range(3):
        logs = {t: tree.log_probs[t].view(3, -1)[p] for t in tree.log_probs}
        single = back_up(bare_tree(alone.plan, logs), leaves[p : p + 1])
        for t in together:
            torch.testing.assert_close(together[t].view(3, -1)[p], single[t], rtol=0, atol=1e-6)  # float32 sums


@given(small_plans, st.integers(1, 3), st.integers(0, 1000), st.sampled_from(list(BACKUPS)))
@relaxed
def test_centring_sums_to_zero_below_every_node(plan, prompts, seed, backup):
    tree, leaves = random_tree(plan, prompts, seed)
    plain, centred = (back_up(tree, leaves, backup, centring) for centring in CENTRINGS)
    for t, edges in centred.items():
        k = plan.branch[t]
        assert edges.shape == (prompts * plan.nodes(t + 1),)
        if k == 1:  # nothing to compare with: the edge keeps its value
            assert torch.equal(edges, plain[t])
        else:
            assert edges.view(-1, k).sum(1).abs().max() < 1e-5  # float32 sums of a few numbers of size 1
            gaps = plain[t].view(-1, k) - edges.view(-1, k)
            torch.testing.assert_close(gaps, gaps[:, :1].expand_as(gaps), rtol=0, atol=1e-6)  # one shift per node


@given(small_plans, st.integers(0, 1000), st.sampled_from(list(BACKUPS)))
@relaxed
def test_edges_stay_between_the_leaves_below_them(plan, seed, backup):
    tree, leaves = random_tree(plan, 2, seed, scale=5.0)
    for edges in back_up(tree, leaves, backup).values():
        below = leaves.view(len(edges), -1)
        assert (edges <= below.amax(1) + 1e-5).all()  # float32 roundings
        assert (edges >= below.amin(1) - 1e-5).all()


@given(small_plans, st.integers(0, 1000))
@relaxed
def test_mean_backup_is_the_mean_of_the_leaves_below(plan, seed):
    tree, leaves = random_tree(plan, 2, seed)
    for edges in back_up(tree, leaves, "mean").values():
        torch.testing.assert_close(edges, leaves.view(len(edges), -1).mean(1), rtol=0, atol=1e-6)  # float32 sums


def test_deterministic_steps_pass_values_through():
    leaves = torch.randn(1, 6, generator=torch.Generator().manual_seed(0))
    logs = torch.tensor([-1.0, -2.0, -0.5]), torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5, 0.6])
    short = bare_tree(TreePlan((3, 2), (True, True)), {0: logs[0], 1: logs[1]})
    long = bare_tree(TreePlan((1, 3, 1, 2, 1, 1), (False, True, False, True, False, False)), {1: logs[0], 3: logs[1]})
    ours, theirs = back_up(short, leaves), back_up(long, leaves)
    assert torch.equal(ours[0], theirs[1])
    assert torch.equal(ours[1], theirs[3])


def test_stochastic_step_without_noise_is_passed_over():
    """A kernel may leave no noise at a stochastic step (sigma 0): it has no log-probability and no edges."""
    tree = bare_tree(TreePlan((2, 1), (True, True)), {0: torch.tensor([0.0, -1.0])})
    assert list(back_up(tree, torch.tensor([[3.0, 4.0]]))) == [0]


def test_with_advantages_normalises_clamps_and_backs_up():
    tree, _ = random_tree(TreePlan((3, 3), (True, True)), prompts=2, seed=1)
    rewards = torch.zeros(2, 9)
    rewards[0, 4], rewards[1] = 9.0, torch.arange(9.0)
    tree = tree.with_rewards({"a": rewards.flatten(), "b": -rewards})
    whole = with_advantages(tree, {"a": 1.0, "b": 0.5}, clamp=1.2)
    expected = (0.5 * group_advantages(rewards)).clamp(-1.2, 1.2)
    torch.testing.assert_close(whole.leaf_advantages, expected, rtol=1e-6, atol=1e-6)  # float32
    assert float(whole.leaf_advantages.max()) == pytest.approx(1.2)  # the clamp bites: 0.5 * sqrt(8) is 1.41
    edges = back_up(tree, whole.leaf_advantages)
    assert all(torch.equal(whole.edge_advantages[t], edges[t]) for t in (0, 1))
    summed = with_advantages(tree, {"a": 1.0, "b": 0.5}, mixing="sum").leaf_advantages
    torch.testing.assert_close(summed, group_advantages(rewards), rtol=1e-6, atol=1e-6)  # half of it, normalised anew
    assert tree.leaf_advantages is None  # stages are immutable
    assert not tree.edge_advantages


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("median", "none"), ['advantage.backup: "median" is unknown', *BACKUPS]),
        (("mean", "cousins"), ['advantage.centring: "cousins" is unknown', *CENTRINGS]),
    ],
)
def test_unknown_names_are_refused(arguments, words):
    tree, leaves = two_levels()
    with pytest.raises(UsageError) as refusal:
        back_up(tree, leaves, *arguments)
    assert all(word in str(refusal.value) for word in words)


def test_an_unknown_mixing_is_refused():
    with pytest.raises(UsageError, match=r'advantage\.mixing: "product" is unknown; choose one of normalise, sum'):
        mix({"a": torch.zeros(1, 2)}, {"a": 1.0}, "product")
