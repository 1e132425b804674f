"""A linear-Gaussian toy policy on which the policy gradient of every denoising step is known exactly.

The network is D(x, sigma_t) = contraction * x + theta_t * u: one trainable number theta_t per step, along the unit
direction u = (1, ..., 1) / sqrt(D) of latents [N, 1, 1, D]. Every kernel is linear in x and x0, so the coordinate
z = <x, u> obeys

    z_{t+1} = (a_t + b_t * contraction) z_t + b_t theta_t + std_t * noise,   noise ~ N(0, 1),

whatever D is. z_T is Gaussian, with mean and variance that follow from a recursion, and the expectation of each reward
below is a closed form in the two. D changes nothing but the library's log-density, which is a mean over D elements.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from math import prod, sqrt

import torch
from torch import Tensor

from ..method.grow import BatchSizes
from ..method.process import Path, Step, log_density
from ..method.tree import Tree

BATCH = BatchSizes(rollout=1_000_000, training=1_000_000, decode=1_000_000)


@dataclass(frozen=True)
class ToyReward:
    """A reward of z_T. `of` maps samples [N] to rewards [N]; `expected` maps (mean, variance) of z_T to E[reward]."""

    name: str
    of: Callable[[Tensor], Tensor]
    expected: Callable[[Tensor, float], Tensor]

    def __call__(self, x: Tensor) -> Tensor:
        """Rewards [N] of latents [N, 1, 1, D]."""
        return self.of(coordinate(x))


LINEAR = ToyReward("linear", lambda z: 0.7 * z, lambda mean, variance: 0.7 * mean)
QUADRATIC = ToyReward("quadratic", lambda z: -((z - 1.5) ** 2), lambda mean, variance: -((mean - 1.5) ** 2) - variance)
EXPONENTIAL = ToyReward(
    "exponential", lambda z: (0.8 * z).exp(), lambda mean, variance: (0.8 * mean + 0.32 * variance).exp()
)


def coordinate(x: Tensor) -> Tensor:
    """z = <x, u>: [N, 1, 1, D] -> [N]."""
    return x.flatten(1).sum(1) / sqrt(x[0].numel())


class ToyPolicy:
    """The Policy protocol on the model above. theta starts at `theta`; the base model (reference) has theta 0.

    FLOW sigmas are those of shift 3 with every step of about the same size; VE sigmas fall geometrically from 4.
    """

    def __init__(
        self,
        steps: int = 10,
        path: Path = Path.FLOW,
        dtype: torch.dtype = torch.float64,
        contraction: float = 0.8,
        dims: int = 1,
        theta: float = 0.1,
    ) -> None:
        self.path, self.dtype, self.contraction, self.dims = path, dtype, contraction, dims
        self.theta = torch.nn.Parameter(torch.full((steps,), theta, dtype=dtype))
        self.base = torch.zeros(steps, dtype=dtype)
        self.active = True
        self.decoder = "latents are the pictures"
        self.calls: list[int] = []  # rows of every network call
        self.heard: list[str] = []  # the prompt of every row

    def sigmas(self, steps: int) -> Tensor:
        if steps != len(self.theta):
            raise ValueError(f"this toy has {len(self.theta)} steps, not {steps}")
        if self.path is Path.FLOW:
            even = torch.linspace(1, 0, steps + 1)
            return 3 * even / (1 + 2 * even)
        return torch.cat([torch.logspace(0.6, -0.9, steps), torch.zeros(1)])

    def initial_noise(self, count: int, sigma: float, generator: torch.Generator) -> Tensor:
        return sigma * torch.randn((count, 1, 1, self.dims), generator=generator, dtype=self.dtype)

    def prepare(self, prompts: Sequence[str]) -> None:
        pass

    def denoise(self, x: Tensor, sigma: float, prompts: Sequence[str], until: float = 0.0) -> Tensor:
        assert len(prompts) == len(x)
        self.calls.append(len(x))
        self.heard += prompts
        step = self.sigmas(len(self.theta)).tolist().index(sigma)
        theta = (self.theta if self.active else self.base)[step]
        return self.contraction * x + theta / sqrt(self.dims)

    def training_bytes(self, x: Tensor, sigma: float, prompts: Sequence[str]) -> int:
        return 0

    def decoding_bytes(self, latents: Tensor) -> int:
        return 0

    def decode(self, latents: Tensor) -> Tensor:
        return latents[:, 0, :, :, None].sigmoid().expand(-1, -1, -1, 3).float()

    def parameters(self) -> list[torch.nn.Parameter]:
        return [self.theta]

    @contextmanager
    def reference(self) -> Iterator[None]:
        self.active = False
        try:
            yield
        finally:
            self.active = True

    def drawing(self) -> AbstractContextManager[None]:
        return nullcontext()

    def adapter_state(self) -> dict[str, Tensor]:
        return {"theta": self.theta.detach().clone()}

    def load_adapter_state(self, state: dict[str, Tensor]) -> None:
        with torch.no_grad():
            self.theta.copy_(state["theta"])


def final_moments(policy: ToyPolicy, transitions: Sequence[Step]) -> tuple[float, float]:
    """Mean and variance of z_T, by propagating those of z_0 ~ N(0, sigma_0^2)."""
    mean, variance = 0.0, float(policy.sigmas(len(transitions))[0]) ** 2
    for step, theta in zip(transitions, policy.theta.tolist(), strict=True):
        slope = step.a + step.b * policy.contraction
        mean = slope * mean + step.b * theta
        variance = slope**2 * variance + step.std**2
    return mean, variance


def analytic_gradient(policy: ToyPolicy, transitions: Sequence[Step], reward: ToyReward) -> Tensor:
    """d E[reward] / d theta_t of every step, float64 [T].

    theta moves the mean of z_T alone: d mean / d theta_t = b_t * product of the slopes of all later steps.
    """
    mean, variance = final_moments(policy, transitions)
    at = torch.tensor(mean, dtype=torch.float64, requires_grad=True)
    (along_mean,) = torch.autograd.grad(reward.expected(at, variance), at)
    slopes = [step.a + step.b * policy.contraction for step in transitions]
    carried = [step.b * prod(slopes[t + 1 :]) for t, step in enumerate(transitions)]
    return along_mean * torch.tensor(carried, dtype=torch.float64)


def scores(policy: ToyPolicy, tree: Tree, t: int) -> Tensor:
    """d log pi / d theta_t of every edge of trained step t, [P * nodes(t + 1)].

    Differentiates the library's own log-density and Step through a prediction of its own for every edge. The
    library's log pi is a mean over the D elements of a latent; times D it is the log-density of z plus terms without
    theta, so that E[score * reward] is the analytic gradient for every D.
    """
    step, sigma = tree.transitions[t], float(tree.sigmas[t])
    with torch.no_grad():
        x0 = policy.denoise(tree.states[t], sigma, tree.prompts_at(t))
    shift = torch.zeros(len(tree.states[t + 1]), 1, 1, 1, dtype=x0.dtype, requires_grad=True)
    parents, x0 = (rows.repeat_interleave(tree.plan.branch[t], 0) for rows in (tree.states[t], x0))
    mean = step.mean(parents, x0 + shift / sqrt(policy.dims))
    log_prob = policy.dims * log_density(tree.states[t + 1], mean, step.std)
    (score,) = torch.autograd.grad(log_prob.sum(), shift)
    return score.flatten()


def leave_one_out(values: Tensor) -> Tensor:
    """Every entry minus the mean of the others in its row. [P, E] -> [P, E]."""
    others = values.shape[1] - 1
    return values - (values.sum(1, keepdim=True) - values) / others
