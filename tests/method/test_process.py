"""Kernels against the published table and against diffusers' schedulers, and the Gaussian log-density."""

import math
from itertools import pairwise

import pytest
import torch
from diffusers import DDIMScheduler, EulerAncestralDiscreteScheduler, FlowMatchEulerDiscreteScheduler
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from treegrpo.errors import UsageError
from treegrpo.method.process import (
    DEFAULT_ETA,
    KERNELS,
    Kernel,
    Path,
    Step,
    cps,
    dance_sde,
    ddim,
    flow_sde,
    log_density,
    ode,
    preserving_step,
)

SINGLE = 2e-6  # a few float32 roundings (6e-8 each) of numbers of size 1 to 10, where the scheduler works in float32

# i, sigma, next, std, coefficient of x, coefficient of v, std / next, std of CPS: shift 3, 10 steps, as printed.
TABLE = [
    (0, 1.00000, 0.96013, 0.7000, 0.7550, -0.0399, "0.73", 0.9131),
    (1, 0.96013, 0.91335, 0.7430, 0.7125, -0.0582, "0.81", 0.8686),
    (2, 0.91335, 0.85769, 0.5362, 0.8426, -0.0693, "0.63", 0.8157),
    (3, 0.85769, 0.79037, 0.4459, 0.8841, -0.0838, "0.56", 0.7517),
    (4, 0.79037, 0.70728, 0.3918, 0.9029, -0.1034, "0.55", 0.6727),
    (5, 0.70728, 0.60215, 0.3528, 0.9120, -0.1309, "0.59", 0.5727),
    (6, 0.60215, 0.46488, 0.3191, 0.9155, -0.1709, "0.69", 0.4421),
    (7, 0.46488, 0.27805, 0.2820, 0.9145, -0.2326, "1.01", 0.2644),
    (8, 0.27805, 0.00893, 0.2254, 0.9087, -0.3351, "25.2", 0.0085),
]


def flow_scheduler():
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    scheduler.set_timesteps(10)
    return scheduler


def latents(seed, shape=(4, 3, 2, 2), dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator, dtype=dtype), torch.randn(shape, generator=generator, dtype=dtype)


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"step {row[0]}")
def test_published_table(row):
    i, sigma, following, std, along_x, along_v, relative, cps_std = row
    s, s_next = flow_scheduler().sigmas[i : i + 2].tolist()
    assert (s, s_next) == pytest.approx((sigma, following), abs=0.5e-5)  # half of the last printed digit
    step = flow_sde(Path.FLOW, s, s_next, 0.7)
    # In terms of the velocity v = (x - x0) / s, a x + b x0 = (a + b) x - b s v.
    ours = step.std, step.a + step.b, -step.b * s, cps(Path.FLOW, s, s_next, 0.8).std
    assert ours == pytest.approx((std, along_x, along_v, cps_std), abs=0.5001e-4)  # half of the last printed digit
    assert f"{step.std / s_next:.{len(relative) - 1 - relative.index('.')}f}" == relative


def test_ode_is_the_flow_match_euler_step():
    scheduler = flow_scheduler()
    x, velocity = latents(0)
    for timestep, s, s_next in zip(
        scheduler.timesteps, scheduler.sigmas.tolist(), scheduler.sigmas[1:].tolist(), strict=False
    ):
        theirs = scheduler.step(velocity, timestep, x).prev_sample
        torch.testing.assert_close(ode(Path.FLOW, s, s_next).mean(x, x - s * velocity), theirs, atol=SINGLE, rtol=0)


@pytest.mark.parametrize("eta", [0.0, 0.3, 1.0])
def test_ddim_on_the_ve_path_is_the_ddim_scheduler(eta):
    """x_vp = sqrt(alpha_bar) x_ve and sigma = sqrt((1 - alpha_bar) / alpha_bar); eps is the same in both."""
    scheduler = DDIMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, clip_sample=False)
    scheduler.set_timesteps(20)
    x, eps = latents(1, dtype=torch.float64)
    for timestep in scheduler.timesteps[:-1]:
        alpha, alpha_next = (float(scheduler.alphas_cumprod[t]) for t in (timestep, timestep - 50))
        s, s_next = (math.sqrt((1 - a) / a) for a in (alpha, alpha_next))
        step = ddim(Path.VE, s, s_next, eta)
        theirs = [
            scheduler.step(eps, timestep, x * math.sqrt(alpha), eta=eta, variance_noise=noise).prev_sample
            / math.sqrt(alpha_next)
            for noise in (torch.zeros_like(x), torch.ones_like(x))
        ]
        # The scheduler's alphas are float32, and 1 - alpha loses up to three digits where alpha is near 1.
        torch.testing.assert_close(step.mean(x, x - s * eps), theirs[0], atol=0, rtol=1e-4)
        torch.testing.assert_close(torch.full_like(x, step.std), theirs[1] - theirs[0], atol=1e-6, rtol=1e-4)
    assert s_next > 0.02  # the loop went down to small sigmas


@pytest.mark.filterwarnings("ignore:__array__")  # the scheduler's own use of numpy
def test_ddim_with_eta_1_is_the_ancestral_step():
    """Against diffusers' port of k-diffusion's ancestral sampler, step by step and in mean and noise."""
    scheduler = EulerAncestralDiscreteScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012)
    scheduler.set_timesteps(12)
    for i, timestep in enumerate(scheduler.timesteps):
        s, s_next = scheduler.sigmas[i : i + 2].tolist()
        x, eps = latents(i)
        x = x * s
        scheduler.scale_model_input(x, timestep)
        theirs = scheduler.step(eps, timestep, x, generator=torch.Generator().manual_seed(i)).prev_sample
        noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(i))
        step = ddim(Path.VE, s, s_next, 1.0)
        ours = step.mean(x, x - s * eps) + step.std * noise
        torch.testing.assert_close(ours, theirs, atol=SINGLE * max(s, 1) * 4, rtol=0)  # states have size 4 s


def ancestral_step(sigma_from, sigma_to, eta):
    """k-diffusion's get_ancestral_step, from its published formula: (sigma_down, sigma_up)."""
    sigma_up = min(sigma_to, eta * (sigma_to**2 * (sigma_from**2 - sigma_to**2) / sigma_from**2) ** 0.5)
    return (sigma_to**2 - sigma_up**2) ** 0.5, sigma_up


falling = st.tuples(st.floats(0.05, 1.0), st.floats(0.0, 0.99)).map(lambda pair: (pair[0], pair[0] * pair[1]))
paths = st.sampled_from(list(Path))
relaxed = settings(max_examples=100, deadline=None, derandomize=True)


@given(falling, st.floats(0.01, 1.0), st.floats(1.0, 20.0))
@relaxed
def test_ddim_is_the_ancestral_formula(sigmas, eta, scale):
    s, s_next = (sigma * scale for sigma in sigmas)
    down, up = ancestral_step(s, s_next, eta)
    step = ddim(Path.VE, s, s_next, eta)
    # Mean x + (x - x0) / s * (down - s); float64, and the square root of a difference keeps half of the digits.
    assert (step.a, step.b, step.std) == pytest.approx((down / s, 1 - down / s, up), rel=1e-7, abs=1e-7 * scale)


@given(paths, falling, st.floats(0.0, 1.0))
@relaxed
def test_preserving_step_keeps_the_noise_level_and_the_signal(path, sigmas, share):
    s, s_next = sigmas
    step = preserving_step(path, s, s_next, share * s_next)
    assert (step.a * s) ** 2 + step.std**2 == pytest.approx(s_next**2, rel=1e-12, abs=1e-15)  # float64 roundings
    assert step.a * path.signal(s) + step.b == pytest.approx(path.signal(s_next), rel=1e-12)


@given(paths, falling, st.floats(0.01, 1.0), st.sampled_from(["cps", "ddim"]))
@relaxed
def test_cps_and_ddim_preserve_the_noise_level(path, sigmas, eta, name):
    s, s_next = sigmas
    assume(path is Path.VE or s < 1)
    step = Kernel(name, eta).step(path, s, s_next)
    assert (step.a * s) ** 2 + step.std**2 == pytest.approx(s_next**2, rel=1e-12, abs=1e-15)  # float64 roundings
    assert 0 <= step.std <= s_next


@given(paths, falling, st.floats(-3, 3), st.floats(-3, 3))
@relaxed
def test_ode_moves_along_the_line_of_a_constant_prediction(path, sigmas, x0, eps):
    s, s_next = sigmas
    x = torch.tensor([path.signal(s) * x0 + s * eps], dtype=torch.float64)
    exact = path.signal(s_next) * x0 + s_next * eps
    moved = ode(path, s, s_next).mean(x, torch.tensor([x0], dtype=torch.float64))
    assert float(moved) == pytest.approx(exact, abs=1e-12)  # float64 roundings of numbers up to 6


def test_ddim_on_the_flow_path_is_ddim_in_its_noise_to_signal_ratio():
    """FLOW states divided by 1 - s are VE states at s / (1 - s), so the step must be the VE step there."""
    s, s_next = 0.7, 0.4
    flow, ve = ddim(Path.FLOW, s, s_next, 0.6), ddim(Path.VE, s / (1 - s), s_next / (1 - s_next), 0.6)
    scaled = (flow.a * (1 - s) / (1 - s_next), flow.b / (1 - s_next), flow.std / (1 - s_next))
    assert scaled == pytest.approx((ve.a, ve.b, ve.std), rel=1e-12)  # float64 roundings


@pytest.mark.parametrize("kernel", [flow_sde, dance_sde])
def test_reverse_sde_is_the_velocity_step_plus_the_score_correction(kernel):
    """dx = (v + g^2 / 2s (x + (1 - s) v)) dt + g dw, written with the velocity as in the papers."""
    x, v = latents(2, dtype=torch.float64)
    for s, s_next in [(1.0, 0.96), (0.9, 0.8), (0.5, 0.2), (0.2, 0.0)]:
        dt = s_next - s
        g = 0.7 * math.sqrt(s / (1 - (s_next if s == 1 else s))) if kernel is flow_sde else 0.7
        step = kernel(Path.FLOW, s, s_next, 0.7)
        exact = x + (v + g**2 / (2 * s) * (x + (1 - s) * v)) * dt
        torch.testing.assert_close(step.mean(x, x - s * v), exact, rtol=1e-12, atol=1e-12)  # float64 roundings
        assert step.std == pytest.approx(g * math.sqrt(-dt), rel=1e-12)


@pytest.mark.parametrize("kernel", [flow_sde, dance_sde])
def test_reverse_sde_keeps_the_marginals_for_small_steps(kernel):
    """One data point x0: the state at s is N((1-s) x0, s^2). Small steps must keep mean and variance of that."""
    steps, x0 = 4000, 1.3
    grid = torch.linspace(0.9, 0.1, steps + 1, dtype=torch.float64).tolist()
    mean, variance = (1 - grid[0]) * x0, grid[0] ** 2
    for s, s_next in pairwise(grid):
        step = kernel(Path.FLOW, s, s_next, 0.7)
        mean, variance = step.a * mean + step.b * x0, step.a**2 * variance + step.std**2
    # Euler's error is of the order of one step, 0.8 / 4000, times the rates, which reach g^2 / s^2 of about 5.
    assert mean == pytest.approx((1 - grid[-1]) * x0, rel=2e-3)
    assert variance == pytest.approx(grid[-1] ** 2, rel=5e-3)


@pytest.mark.parametrize("name", ["flow_sde", "dance_sde"])
@pytest.mark.parametrize("sigmas", [(14.6, 9.7), (2.0, 1.0), (0.8, 0.5), (0.3, 0.0)])
def test_flow_kernels_refuse_eps_and_v_prediction(name, sigmas):
    with pytest.raises(UsageError, match=f'"{name}" is defined for flow models only; use "cps" or "ddim"'):
        Kernel(name).step(Path.VE, *sigmas)


@pytest.mark.parametrize("name", ["cps", "ddim"])
@pytest.mark.parametrize("path", list(Path))
def test_preserving_kernels_accept_both_paths(name, path):
    step = Kernel(name).step(path, 0.8, 0.5)
    assert isinstance(step, Step)
    assert 0 < step.std < 0.5


def test_default_etas_are_the_published_ones():
    assert DEFAULT_ETA == {"flow_sde": 0.7, "dance_sde": 0.3, "cps": 0.8, "ddim": 1.0}
    for name, eta in DEFAULT_ETA.items():
        assert Kernel(name).step(Path.FLOW, 0.8, 0.5) == KERNELS[name](Path.FLOW, 0.8, 0.5, eta)
        assert Kernel(name, eta / 2).step(Path.FLOW, 0.8, 0.5) == KERNELS[name](Path.FLOW, 0.8, 0.5, eta / 2)


@pytest.mark.parametrize("eta", [0.0, -0.5])
def test_etas_without_noise_are_refused(eta):
    with pytest.raises(UsageError, match=r"kernel\.eta.*adds no noise"):
        Kernel("cps", eta)


@pytest.mark.parametrize("name", ["cps", "ddim"])
def test_etas_that_overfill_the_next_sigma_are_refused(name):
    Kernel(name, 1.0)
    with pytest.raises(UsageError, match=r"kernel\.eta.*choose a value up to 1"):
        Kernel(name, 1.5)


def test_unknown_kernels_are_refused():
    with pytest.raises(UsageError) as refusal:
        Kernel("euler")
    assert all(word in str(refusal.value) for word in ('kernel.name: "euler" is unknown', *KERNELS))


def test_signal_of_the_paths():
    assert [Path.FLOW.signal(s) for s in (0.0, 0.25, 1.0)] == [1.0, 0.75, 0.0]
    assert [Path.VE.signal(s) for s in (0.0, 0.25, 14.6)] == [1.0, 1.0, 1.0]


@given(st.integers(0, 10_000), st.floats(0.005, 5.0))
@relaxed
def test_log_density_is_the_mean_of_the_normal_log_density(seed, std):
    x, mean = latents(seed)
    x = mean + std * x
    exact = torch.distributions.Normal(mean.double(), std).log_prob(x.double()).flatten(1).mean(1)
    ours = log_density(x, mean, std)
    assert ours.shape == (4,)
    # x - mean has an absolute error of 2e-7 from storing x in float32, divided by std and times the size of the noise.
    torch.testing.assert_close(ours.double(), exact, rtol=0, atol=1e-5 + 2e-6 / std)
    torch.testing.assert_close(log_density(x.double(), mean.double(), std), exact, rtol=1e-12, atol=1e-12)


def test_log_density_has_the_gradient_of_the_normal():
    x, mean = latents(3, dtype=torch.float64)
    mean.requires_grad_()
    log_density(x, mean, 0.3).sum().backward()
    torch.testing.assert_close(mean.grad, (x - mean.detach()) / 0.3**2 / 12, rtol=1e-12, atol=1e-12)  # 12 elements
