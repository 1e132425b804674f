"""Plans and presets: the published counts, the cost against a walk over single nodes, and every refusal."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from treegrpo.errors import UsageError
from treegrpo.method.plan import METHODS, Cost, TreePlan, at_steps, preset, spaced
from treegrpo.method.window import consecutive


def treegrpo(branch, depth, start, steps=10, **rest):
    window = consecutive(start, depth, steps)
    return preset("treegrpo", steps=steps, branch=branch, window=window, roots=rest.pop("roots", 1), **rest)


def walk(plan):
    """The cost of one prompt by visiting every node of its trees, one at a time."""
    counts = dict.fromkeys(("leaves", "evaluations", "trained_nodes", "trained_edges"), 0)
    frontier = [0] * plan.steps
    stack = [0] * plan.roots
    while stack:
        step = stack.pop()
        if step == plan.steps:
            counts["leaves"] += 1
            continue
        frontier[step] += 1
        counts["evaluations"] += 1
        if plan.stochastic[step]:
            counts["trained_nodes"] += 1
            counts["trained_edges"] += plan.branch[step]
        stack += [step + 1] * plan.branch[step]
    independent = sum(1 for _ in range(counts["leaves"]) for _ in range(plan.steps))
    return Cost(**counts, peak_frontier=max(frontier), independent_evaluations=independent)


@st.composite
def plans(draw):
    branch = draw(st.lists(st.integers(1, 3), min_size=1, max_size=7))
    noisy = [draw(st.booleans()) or children > 1 for children in branch]
    noisy[draw(st.integers(0, len(noisy) - 1))] = True
    roots = draw(st.integers(1 if max(branch) > 1 else 2, 3))
    return TreePlan(tuple(branch), tuple(noisy), roots, shared_noise=draw(st.booleans()))


@given(plans())
@settings(max_examples=60, deadline=None, derandomize=True)
def test_cost_equals_a_walk_over_the_nodes(plan):
    assert plan.cost() == walk(plan)


@given(plans())
@settings(max_examples=60, deadline=None, derandomize=True)
def test_levels_multiply(plan):
    assert plan.nodes(0) == plan.roots
    assert all(plan.nodes(t + 1) == plan.nodes(t) * plan.branch[t] for t in range(plan.steps))
    assert plan.nodes(plan.steps) == plan.leaves
    assert plan.stochastic_steps == tuple(t for t in range(plan.steps) if plan.stochastic[t])


@pytest.mark.parametrize(
    ("branch", "depth", "evaluations", "leaves", "nodes", "edges", "independent"),
    [
        (3, 3, [202, 176, 150, 124, 98, 72, 46], 27, 13, 39, 270),
        (2, 4, [111, 96, 81, 66, 51, 36], 16, 15, 30, 160),
    ],
)
def test_published_counts_of_treegrpo(branch, depth, evaluations, leaves, nodes, edges, independent):
    costs = [treegrpo(branch, depth, start).cost() for start in range(len(evaluations))]
    assert [cost.evaluations for cost in costs] == evaluations
    for cost in costs:
        assert (cost.leaves, cost.trained_nodes, cost.trained_edges) == (leaves, nodes, edges)
        assert cost.independent_evaluations == independent
        assert cost.peak_frontier == leaves


def test_published_formula_of_evaluations():
    for k, w, steps in [(2, 2, 8), (3, 3, 10), (4, 3, 10), (2, 4, 12)]:
        for i in range(steps - w):
            nodes = (k**w - 1) // (k - 1)
            assert treegrpo(k, w, i, steps).cost().evaluations == i + nodes + k**w * (steps - i - w)


def test_two_roots_cost_twice_as_much():
    one, two = treegrpo(3, 3, 2).cost(), treegrpo(3, 3, 2, roots=2).cost()
    assert (two.leaves, two.evaluations, two.trained_edges) == (54, 2 * one.evaluations, 2 * one.trained_edges)


def test_mixgrpo_counts():
    plan = preset("mixgrpo", steps=10, branch=3, window=(2, 3, 4), roots=27, shared_noise=True)
    assert plan.branch == (1,) * 10
    assert plan.stochastic_steps == (2, 3, 4)
    assert plan.shared_noise
    assert plan.cost() == Cost(27, 270, 81, 81, 27, 270)


@pytest.mark.parametrize("method", ["flow_grpo", "dance_grpo", "ddpo"])
def test_flat_counts(method):
    plan = preset(method, steps=10, branch=3, window=(2, 3, 4), roots=27)
    assert plan.branch == (1,) * 10
    assert plan.stochastic_steps == tuple(range(10))
    assert plan.cost() == Cost(27, 270, 270, 270, 27, 270)


def test_branchgrpo_counts():
    assert spaced(4) == (0, 3, 6, 9)
    plan = preset("branchgrpo", steps=12, branch=2, window=spaced(4), roots=1)
    assert plan.branch == (2, 1, 1) * 4
    assert plan.stochastic == (True,) * 12
    # Levels hold 1, then three steps at 2, three at 4, three at 8, and two at 16 nodes, and make 16 leaves.
    evaluations = 1 + 3 * 2 + 3 * 4 + 3 * 8 + 2 * 16
    edges = 3 * 2 + 3 * 4 + 3 * 8 + 3 * 16
    assert plan.cost() == Cost(16, evaluations, evaluations, edges, 16, 16 * 12)


@pytest.mark.parametrize("method", METHODS)
def test_presets_pass_roots_noise_and_limit_on(method):
    plan = preset(method, steps=6, branch=2, window=(0, 3), roots=3, shared_noise=True, leaf_limit=12)
    assert (plan.steps, plan.roots, plan.shared_noise, plan.leaf_limit) == (6, 3, True, 12)
    assert plan.leaves == (12 if method in ("treegrpo", "branchgrpo") else 3)


REFUSALS = {
    "lengths differ": (lambda: TreePlan((2, 1), (True,)), ["branch has 2 steps", "stochastic has 1"]),
    "no steps": (lambda: TreePlan((), ()), ["branch has 0 steps"]),
    "branch 0": (lambda: TreePlan((0, 2), (True, True)), ["branch >= 1"]),
    "no roots": (lambda: TreePlan((2,), (True,), roots=0), ["roots >= 1"]),
    "ODE step branches": (lambda: TreePlan((2, 3), (True, False)), ["step 1", "into 3", "deterministic"]),
    "nothing stochastic": (lambda: TreePlan((1, 1), (False, False), roots=4), ["no step is stochastic"]),
    "one leaf": (lambda: TreePlan((1, 1), (True, True)), ["one leaf per prompt"]),
    "one leaf by preset": (lambda: treegrpo(1, 3, 0), ["one leaf per prompt"]),
    "too many leaves": (lambda: treegrpo(3, 8, 0), ["6561 leaves", "limit of 4096", "leaf_limit"]),
    "own leaf limit": (lambda: treegrpo(3, 3, 0, leaf_limit=26), ["27 leaves", "limit of 26"]),
    "window past the last step": (lambda: at_steps(10, (8, 9, 10), 2), ["step 10", "10 denoising steps", "0 to 9"]),
    "negative step": (lambda: at_steps(10, (-1, 0), 2), ["step -1", "0 to 9"]),
    "branchgrpo too deep": (
        lambda: preset("branchgrpo", steps=9, branch=2, window=spaced(4), roots=1),
        ["step 9", "9 denoising steps"],
    ),
    "unknown method": (
        lambda: preset("grpo", steps=10, branch=2, window=(0,), roots=2),
        ['plan.method: "grpo" is unknown', *METHODS],
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_refusals_say_what_is_wrong(case):
    build, words = REFUSALS[case]
    with pytest.raises(UsageError) as refusal:
        build()
    for word in words:
        assert word in str(refusal.value)


def test_limits_are_inclusive():
    assert treegrpo(3, 3, 0, leaf_limit=27).leaves == 27
    assert TreePlan((1,), (True,), roots=2).leaves == 2
    assert at_steps(10, (7, 8, 9), 2).leaves == 8
