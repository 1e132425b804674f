import pytest
import torch
from hypothesis import given, settings
from hypothesis.strategies import integers

from treegrpo.rewards.symmetry import Symmetry


def symmetry(images: torch.Tensor) -> torch.Tensor:
    return Symmetry().score(images, [""] * len(images))


def noise(count: int, size: int = 32) -> torch.Tensor:
    return torch.rand(count, size, size, 3, generator=torch.Generator().manual_seed(0))


def test_a_picture_and_its_mirror_image_side_by_side():
    half = noise(3)
    assert torch.allclose(symmetry(torch.cat([half, half.flip(2)], dim=2)), torch.ones(3), atol=1e-5)
    inverse = torch.cat([half, 1 - half.flip(2)], dim=2)
    assert torch.allclose(symmetry(inverse), -torch.ones(3), atol=1e-5)


def test_it_is_the_symmetric_share_minus_the_antisymmetric():
    images = noise(4)
    even, odd = (images + images.flip(2)) / 2, (images - images.flip(2)) / 2
    shares = even.var((1, 2), correction=0).sum(1), odd.var((1, 2), correction=0).sum(1)
    assert torch.allclose(symmetry(images), (shares[0] - shares[1]) / (shares[0] + shares[1]), atol=1e-5)


def test_neither_noise_nor_blank_pictures_win():
    # Noise of 3 * 32 * 16 independent pairs: a standard deviation of 1 / sqrt(1536) = 0.026.
    assert symmetry(noise(4)).abs().max() < 0.1
    assert torch.equal(symmetry(torch.tensor([0.0, 1.0]).view(2, 1, 1, 1).expand(-1, 8, 8, 3)), torch.zeros(2))
    # A third cannot be written in binary, so that the mean may differ from it by a rounding.
    assert symmetry(torch.full((1, 31, 31, 3), 1 / 3)).abs().item() < 1e-6
    barely = torch.zeros(1, 8, 8, 3)
    barely[:, 2, 3:5] = 1 / 255  # symmetric, but less than an eye can see
    assert 0 < symmetry(barely).item() < 0.05


def test_top_and_bottom_may_differ():
    assert symmetry(torch.linspace(0, 1, 8).view(1, 8, 1, 1).expand(1, 8, 8, 3)).item() == pytest.approx(1, abs=1e-5)
    assert symmetry(torch.linspace(0, 1, 8).view(1, 1, 8, 1).expand(1, 8, 8, 3)).item() == pytest.approx(-1, abs=1e-5)


@given(seed=integers(0, 2**32), height=integers(1, 9), width=integers(1, 9), cut=integers(1, 4))
@settings(max_examples=50, deadline=None)
def test_order_batch_size_and_mirroring_do_not_matter(seed, height, width, cut):
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(5, height, width, 3, generator=generator)
    scores = symmetry(images)
    order = torch.randperm(5, generator=generator)
    assert scores.dtype == torch.float32
    assert torch.isfinite(scores).all()
    assert scores.abs().max() < 1 + 1e-5
    # Sums of float32 in another order.
    assert torch.allclose(torch.cat([symmetry(part) for part in images[order].split(cut)]), scores[order], atol=1e-5)
    assert torch.allclose(symmetry(images.flip(2)), scores, atol=1e-5)
    assert torch.allclose(symmetry(images.flip(1)), scores, atol=1e-5)
