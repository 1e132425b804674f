import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis.strategies import integers

from treegrpo.rewards.sharpness import Sharpness


def sharpness(images: torch.Tensor) -> torch.Tensor:
    return Sharpness().score(images, [""] * len(images))


def test_one_bright_pixel_by_hand():
    image = torch.zeros(1, 5, 5, 3)
    image[0, 2, 2] = 1
    # The Laplacian is -1020 there, 255 at its four neighbours and 0 elsewhere; its mean is 0.
    assert sharpness(image).item() == pytest.approx(math.log1p(255**2 * (16 + 4) / 25), rel=1e-5)


def test_a_chequerboard_of_single_pixels_is_the_sharpest():
    board = (torch.arange(64)[:, None] + torch.arange(64)) % 2
    score = sharpness(board[None, :, :, None].expand(-1, -1, -1, 3).float()).item()
    # +-1020 but at the border, where a pixel has a like neighbour: 765 on the edges, 510 in the corners.
    variance = (62**2 * 1020**2 + 4 * 62 * 765**2 + 4 * 510**2) / 64**2
    assert score == pytest.approx(math.log1p(variance), rel=1e-5)
    assert 13 < score < math.log1p(1020**2) < 13.9


def test_blur_and_flatness_lower_it():
    noise = torch.rand(1, 32, 32, 3, generator=torch.Generator().manual_seed(0))
    blurred = torch.nn.functional.avg_pool2d(noise.movedim(-1, 1), 3, 1, 1, count_include_pad=False).movedim(1, -1)
    flat = torch.full((1, 32, 32, 3), 0.3)
    scores = sharpness(torch.cat([noise, blurred, flat]))
    assert scores[0] > scores[1] + 2  # a mean of 3 x 3 has a ninth of the variance at least: log 9 = 2.2
    assert scores[2].item() == pytest.approx(0, abs=1e-6)


def test_it_does_not_depend_on_hue():
    step = torch.zeros(2, 8, 8, 3)
    step[0, :, 4:, 1] = 1  # green
    step[1, :, 4:] = 0.587  # the grey of the same luma
    assert sharpness(step)[0].item() == pytest.approx(sharpness(step)[1].item(), rel=1e-5)


@given(seed=integers(0, 2**32), height=integers(1, 9), width=integers(1, 9), cut=integers(1, 4))
@settings(max_examples=50, deadline=None)
def test_order_batch_size_and_mirroring_do_not_matter(seed, height, width, cut):
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(5, height, width, 3, generator=generator)
    scores = sharpness(images)
    order = torch.randperm(5, generator=generator)
    assert scores.dtype == torch.float32
    assert torch.isfinite(scores).all()
    # Sums of float32 in another order.
    assert torch.allclose(torch.cat([sharpness(part) for part in images[order].split(cut)]), scores[order], atol=1e-4)
    assert torch.allclose(sharpness(images.flip(2)), scores, atol=1e-4)
    assert torch.allclose(sharpness(images.transpose(1, 2)), scores, atol=1e-4)
