"""The policy-gradient estimator against the analytic gradient of every trained step, for every preset.

With raw rewards, the `mean` backup and a leave-one-out baseline, the average over the edges of step t of
grad_theta_t log pi * A is an unbiased estimate of d E[reward] / d theta_t.

The baseline of an edge must be the mean over the OTHER EDGES OF THE SAME STEP, not over the other leaves. The value of
an edge is the mean of the leaves below it, so a baseline over leaves contains leaves that descend from the edge
itself. They carry the edge's own noise, and part of the signal is subtracted with them: of E edges at a step, the mean
over all leaves keeps 1 - 1/E of the gradient (2/3 at the first step of a k = 3 window, 26/27 at its last). The mean
over the other edges is independent of the edge's noise given the states above, so it takes nothing.
"""

from dataclasses import replace

import pytest
import torch

from treegrpo.bench.toy import (
    BATCH,
    EXPONENTIAL,
    LINEAR,
    QUADRATIC,
    ToyPolicy,
    analytic_gradient,
    final_moments,
    leave_one_out,
    scores,
)
from treegrpo.method.advantage import back_up
from treegrpo.method.grow import grow
from treegrpo.method.plan import preset
from treegrpo.method.process import Kernel, Path
from treegrpo.method.update import UpdateSettings, update

PRESETS = {
    "treegrpo": preset("treegrpo", steps=10, branch=3, window=(2, 3, 4), roots=1),
    "treegrpo, two roots": preset("treegrpo", steps=10, branch=2, window=(0, 3, 6), roots=2),
    "branchgrpo": preset("branchgrpo", steps=10, branch=2, window=(0, 3, 6), roots=1),
    "mixgrpo": preset("mixgrpo", steps=10, branch=1, window=(2, 3, 4), roots=12, shared_noise=True),
    "flat": preset("flow_grpo", steps=10, branch=1, window=(), roots=12),
}
# The etas and contractions let the noise of the first steps reach the last state, so that a gradient is there.
KERNELS = {
    "cps": (Kernel("cps", 0.5), Path.FLOW, 0.8),
    "flow_sde": (Kernel("flow_sde"), Path.FLOW, 0.8),
    "ddim": (Kernel("ddim"), Path.VE, 0.4),
}
ERRORS = 4.5  # standard errors: 1 in 150,000 for each of about 200 numbers below, so that no seed is a lucky one


@pytest.fixture(autouse=True)
def one_thread():
    """The tensors are small: threads cost more than they bring, and they would change the last digits."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def grown(plan, kernel="flow_sde", prompts=12_000, dims=1):
    transition, path, contraction = KERNELS[kernel]
    policy = ToyPolicy(path=path, dims=dims, contraction=contraction)
    return policy, grow(policy, ["p"] * prompts, plan, transition, torch.Generator().manual_seed(0), BATCH)


def estimates(policy, tree, reward, advantages):
    """Gradient estimates of every prompt: {t: [P]}, the average over the edges of step t of score * A.

    advantages maps the values of the edges of one step [P, E] to advantages [P, E].
    """
    prompts = len(tree.prompts)
    values = back_up(tree, reward(tree.leaves).view(prompts, -1), backup="mean", centring="none")
    return {
        t: (scores(policy, tree, t).view(prompts, -1) * advantages(values[t].view(prompts, -1).double())).mean(1)
        for t in tree.trained_steps
    }


def agrees(samples, exact, precision=0.05):
    """Whether the mean of samples is `exact` within its interval; the interval must be narrow enough to tell."""
    error = float(samples.std()) / len(samples) ** 0.5
    assert error < precision * abs(exact), f"too noisy to tell: {error:.5f} beside {exact:.5f}"
    return abs(float(samples.mean()) - exact) < ERRORS * error


@pytest.mark.parametrize("reward", [LINEAR, QUADRATIC], ids=lambda reward: reward.name)
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("name", PRESETS)
def test_every_step_has_its_analytic_gradient(name, kernel, reward):
    policy, tree = grown(PRESETS[name], kernel)
    exact = analytic_gradient(policy, tree.transitions, reward)
    found = estimates(policy, tree, reward, leave_one_out)
    assert len(found) >= 3
    for t, samples in found.items():
        assert agrees(samples, float(exact[t])), (t, float(samples.mean()), float(exact[t]))


def test_log_density_as_a_mean_over_elements_changes_the_scale_only():
    policy, tree = grown(PRESETS["treegrpo"], prompts=6000, dims=8)
    exact = analytic_gradient(policy, tree.transitions, QUADRATIC)
    for t, samples in estimates(policy, tree, QUADRATIC, leave_one_out).items():
        assert agrees(samples, float(exact[t]))


def test_a_baseline_over_leaves_keeps_1_minus_1_over_e_of_the_gradient():
    """The reason for the leave-one-out over edges; and proof that the test above sees an error of this size."""
    policy, tree = grown(PRESETS["treegrpo"], prompts=24_000)
    exact = analytic_gradient(policy, tree.transitions, LINEAR)
    # Every edge of a step has as many leaves, so the mean over all leaves is the mean over the edges' values.
    found = estimates(policy, tree, LINEAR, lambda values: values - values.mean(1, keepdim=True))
    for t, edges in [(2, 3), (3, 9), (4, 27)]:
        assert agrees(found[t], (1 - 1 / edges) * float(exact[t]), precision=0.01)
        assert not agrees(found[t], float(exact[t]))


def test_one_update_moves_every_parameter_along_its_gradient():
    """Through the library's own loss: with `steps` weights, descent at rate 1 moves theta_t by gradient_t / 3."""
    policy, tree = grown(PRESETS["treegrpo"])
    prompts, before = len(tree.prompts), policy.theta.detach().clone()
    values = back_up(tree, QUADRATIC(tree.leaves).view(prompts, -1), "mean")
    edges = {t: leave_one_out(value.view(prompts, -1)).flatten() for t, value in values.items()}
    optimizer = torch.optim.SGD(policy.parameters(), lr=1.0)
    exact = analytic_gradient(policy, tree.transitions, QUADRATIC)
    update(
        policy,
        replace(tree, edge_advantages=edges),
        optimizer,
        UpdateSettings(weighting="steps", max_grad_norm=1e9),
        batch=1_000_000,
    )
    moved = policy.theta.detach() - before
    samples = estimates(policy, tree, QUADRATIC, leave_one_out)
    for t in range(10):
        if t in samples:
            error = float(samples[t].std()) / prompts**0.5
            assert abs(3 * float(moved[t]) - float(exact[t])) < ERRORS * error
            assert float(moved[t]) > 0
        else:
            assert float(moved[t]) == 0


@pytest.mark.parametrize("kernel", KERNELS)
def test_final_moments_of_the_toy(kernel):
    policy, tree = grown(PRESETS["flat"], kernel)
    z = tree.leaves.flatten()
    mean, variance = final_moments(policy, tree.transitions)
    assert abs(float(z.mean()) - mean) < ERRORS * (variance / len(z)) ** 0.5
    assert abs(float(z.var()) / variance - 1) < ERRORS * (2 / len(z)) ** 0.5


@pytest.mark.parametrize("reward", [LINEAR, QUADRATIC, EXPONENTIAL], ids=lambda reward: reward.name)
def test_analytic_gradient_by_finite_differences(reward):
    policy, tree = grown(PRESETS["flat"], prompts=1)

    def expected(theta):
        policy.load_adapter_state({"theta": theta})
        mean, variance = final_moments(policy, tree.transitions)
        return float(reward.expected(torch.tensor(mean, dtype=torch.float64), variance))

    exact, centre, h = analytic_gradient(policy, tree.transitions, reward), policy.theta.detach().clone(), 1e-4
    for t, direction in enumerate(torch.eye(10, dtype=torch.float64)):
        slope = (expected(centre + h * direction) - expected(centre - h * direction)) / (2 * h)
        assert float(exact[t]) == pytest.approx(slope, rel=1e-6, abs=1e-9)  # h^2 and 1e-16 / h


@pytest.mark.parametrize("reward", [LINEAR, QUADRATIC, EXPONENTIAL], ids=lambda reward: reward.name)
def test_expected_rewards_of_the_toy(reward):
    z = 0.3 + 0.5 * torch.randn(400_000, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    drawn = reward.of(z)
    exact = float(reward.expected(torch.tensor(0.3, dtype=torch.float64), 0.25))
    assert abs(float(drawn.mean()) - exact) < ERRORS * float(drawn.std()) / len(z) ** 0.5
