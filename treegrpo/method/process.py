"""The denoising process: paths, transition kernels and their Gaussian log-density.

Everything is said in denoised space. A path tells how a state is made, x = signal(sigma) * x0 + sigma * noise.
Every kernel is linear in the state and the prediction, so a step is three numbers:
x_next ~ N(a * x + b * x0, std^2).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from math import log, pi, sin, sqrt

from torch import Tensor

from ..errors import UsageError, check_known


class Path(Enum):
    """FLOW: x = (1 - sigma) x0 + sigma eps, sigma in 0..1. VE: x = x0 + sigma eps, sigma >= 0."""

    FLOW = "flow"
    VE = "ve"

    def signal(self, sigma: float) -> float:
        """The factor of x0 in a state at `sigma`."""
        return 1.0 - sigma if self is Path.FLOW else 1.0


@dataclass(frozen=True)
class Step:
    """One transition: x_next ~ N(a * x + b * x0, std^2), the same std for every element."""

    a: float
    b: float
    std: float

    def mean(self, x: Tensor, x0: Tensor) -> Tensor:
        """Mean of the next state. x, x0: float32 [N, ...]."""
        return self.a * x + self.b * x0


def preserving_step(path: Path, s: float, s_next: float, std: float) -> Step:
    """The step that adds `std` of fresh noise and keeps as much predicted noise as sigma s_next still holds.

    mean = signal(s') x0 + sqrt(s'^2 - std^2) eps, with eps = (x - signal(s) x0) / s. std 0 is the ODE (Euler) step.
    """
    kept = sqrt(max(s_next**2 - std**2, 0.0)) / s
    return Step(a=kept, b=path.signal(s_next) - kept * path.signal(s), std=std)


def ode(path: Path, s: float, s_next: float) -> Step:
    """The deterministic step: Euler on the probability-flow ODE, equal to DDIM with eta 0."""
    return preserving_step(path, s, s_next, 0.0)


def cps(path: Path, s: float, s_next: float, eta: float) -> Step:
    """Coefficients-preserving sampling (Flow-CPS): std = s' sin(eta pi / 2)."""
    return preserving_step(path, s, s_next, s_next * sin(eta * pi / 2))


def ddim(path: Path, s: float, s_next: float, eta: float) -> Step:
    """DDIM-eta, the k-diffusion ancestral step at eta 1: std = eta s' sqrt(1 - r^2).

    r = s' signal(s) / (s signal(s')) is the ratio of noise-to-signal levels; on the VE path it is s'/s.
    """
    r = s_next * path.signal(s) / (s * path.signal(s_next))
    return preserving_step(path, s, s_next, eta * s_next * sqrt(max(1 - r**2, 0.0)))


def _require_flow(path: Path, name: str) -> None:
    if path is not Path.FLOW:
        raise UsageError(
            f'kernel.name: "{name}" is defined for flow models only; use "cps" or "ddim" with eps- and v-prediction.'
        )


def _reverse_sde(s: float, s_next: float, g: float) -> Step:
    """Euler-Maruyama on the reverse SDE of a flow: mean = x (1 + g^2 dt / 2s) + v (1 + g^2 (1-s) / 2s) dt."""
    dt = s_next - s
    along_x = 1 + g**2 / (2 * s) * dt
    along_v = (1 + g**2 * (1 - s) / (2 * s)) * dt  # v = (x - x0) / s
    return Step(a=along_x + along_v / s, b=-along_v / s, std=g * sqrt(-dt))


def flow_sde(path: Path, s: float, s_next: float, eta: float) -> Step:
    """Flow-GRPO's and TreeGRPO's kernel: g = eta sqrt(s / (1 - s)), with s' in the divisor where s is 1."""
    _require_flow(path, "flow_sde")
    return _reverse_sde(s, s_next, eta * sqrt(s / (1 - (s_next if s >= 1 else s))))


def dance_sde(path: Path, s: float, s_next: float, eta: float) -> Step:
    """DanceGRPO's kernel: constant g = eta."""
    _require_flow(path, "dance_sde")
    return _reverse_sde(s, s_next, eta)


KERNELS: dict[str, Callable[[Path, float, float, float], Step]] = {
    "flow_sde": flow_sde,
    "dance_sde": dance_sde,
    "cps": cps,
    "ddim": ddim,
}
DEFAULT_ETA = {"flow_sde": 0.7, "dance_sde": 0.3, "cps": 0.8, "ddim": 1.0}


@dataclass(frozen=True)
class Kernel:
    """A named kernel with its noise level eta > 0; at most 1 for cps and ddim, where 1 is all noise fresh.

    Raises UsageError for an unknown name or an eta out of range.
    """

    name: str = "cps"
    eta: float | None = None

    def __post_init__(self) -> None:
        check_known("kernel.name", self.name, KERNELS)
        if self.eta is not None and self.eta <= 0:
            raise UsageError(f"kernel.eta: {self.eta} adds no noise to stochastic steps; choose a value above 0.")
        if self.eta is not None and self.eta > 1 and self.name in ("cps", "ddim"):
            raise UsageError(
                f"kernel.eta: {self.name} cannot add more noise than the next sigma holds; choose a value up to 1, "
                f"not {self.eta}."
            )

    def step(self, path: Path, s: float, s_next: float) -> Step:
        """The stochastic transition from sigma s to s_next < s."""
        eta = DEFAULT_ETA[self.name] if self.eta is None else self.eta
        return KERNELS[self.name](path, s, s_next, eta)


def log_density(x: Tensor, mean: Tensor, std: float) -> Tensor:
    """Log-density of N(mean, std^2) at x, MEAN over all but the first dimension, constants included: [N].

    The mean (not the sum) keeps log-probabilities of siblings comparable, which the softmax backup relies on.
    """
    squared = ((x - mean) / std).square().flatten(1).mean(1)
    return -0.5 * squared - log(std) - 0.5 * log(2 * pi)
