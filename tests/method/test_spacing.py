import pytest
import torch

from treegrpo.method.process import Kernel, Path
from treegrpo.method.spacing import doubts


def flow(steps: int, shift: float = 1.0) -> list[float]:
    """The usual levels of flow models."""
    even = torch.linspace(1, 0, steps + 1, dtype=torch.float64)
    return (shift * even / (1 + (shift - 1) * even)).tolist()


@pytest.mark.parametrize("steps", [4, 8, 12])
@pytest.mark.parametrize("shift", [1.0, 1.15, 3.0])
def test_cps_suits_few_steps(steps, shift):
    assert doubts(Path.FLOW, Kernel("cps"), flow(steps, shift), range(steps)) == []


def test_predictions_are_drowned_where_many_steps_lie_close_to_all_noise():
    [sentence] = doubts(Path.FLOW, Kernel("cps"), flow(28, shift=7.0), range(27))
    assert sentence.startswith("steps 0, 1, 2, 3: nearly all that the model predicts there is drowned in noise")
    assert doubts(Path.FLOW, Kernel("cps"), flow(28, shift=7.0), range(5, 27)) == []


def test_siblings_are_alike_where_hardly_any_noise_is_left():
    # The last level above 0 of Stable Diffusion's own schedule.
    [sentence] = doubts(Path.VE, Kernel("cps"), [14.6, 3.0, 0.4, 0.029, 0.0], range(4))
    assert sentence.startswith("steps 2: so little noise is left there that siblings hardly differ")


@pytest.mark.parametrize(
    ("kernel", "where"), [("flow_sde", "0, 1, 2"), ("dance_sde", None), ("cps", None), ("ddim", None)]
)
def test_a_kernel_that_leaves_pictures_noisy_is_named(kernel, where):
    """By the noise that is really in states whose prediction is perfect."""
    sigmas = flow(4)
    generator = torch.Generator().manual_seed(0)
    x0, noise, fresh = torch.randn(3, 100_000, generator=generator, dtype=torch.float64)
    excess = []
    for t in range(3):
        step = Kernel(kernel).step(Path.FLOW, sigmas[t], sigmas[t + 1])
        state = step.mean((1 - sigmas[t]) * x0 + sigmas[t] * noise, x0) + step.std * fresh
        left = state - (step.a * (1 - sigmas[t]) + step.b) * x0
        if float(left.std()) > 1.1 * sigmas[t + 1]:
            excess.append(str(t))
    assert excess == (where.split(", ") if where else [])
    found = doubts(Path.FLOW, Kernel(kernel), sigmas, range(3))
    assert [each.partition(":")[0] for each in found] == ([f"steps {where}"] if where else [])
