"""The ddim kernel against k-diffusion's own ancestral sampler, in the copy that ComfyUI carries."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from comfy.k_diffusion.sampling import sample_euler_ancestral
from comfy.model_sampling import EPS

from treegrpo.method.process import Kernel, Path

pytestmark = pytest.mark.kernels


class Denoiser:
    """A denoiser that is no straight line, on an object that ComfyUI's copy asks for its parametrisation."""

    inner_model = SimpleNamespace(inner_model=SimpleNamespace(model_sampling=EPS()))

    def __call__(self, x, sigma, **_):
        return torch.tanh(x) / (1 + sigma[:, None] ** 2)


@pytest.mark.parametrize("eta", [0.3, 1.0])
def test_ddim_on_the_ve_path_is_euler_ancestral(eta):
    sigmas = torch.tensor([14.6, 7.0, 3.0, 1.2, 0.4, 0.0])
    generator = torch.Generator().manual_seed(0)
    x = 14.6 * torch.randn(5, 3, generator=generator)
    noises = [torch.randn(x.shape, generator=generator) for _ in sigmas[2:]]
    model = Denoiser()

    given = iter(noises)
    theirs = sample_euler_ancestral(
        model, x.clone(), sigmas, eta=eta, disable=True, noise_sampler=lambda *_: next(given)
    )
    given, ours = iter(noises), x
    for s, s_next in zip(sigmas.tolist(), sigmas.tolist()[1:], strict=False):
        step = Kernel("ddim", eta).step(Path.VE, s, s_next)
        ours = step.mean(ours, model(ours, torch.full((5,), s)))
        if s_next > 0:
            ours = ours + step.std * next(given)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
