import numpy as np
import pytest
import torch
from PIL import Image

from treegrpo.rewards.preprocess import (
    OPENAI_MEAN,
    OPENAI_STD,
    crop_centre,
    crop_centre_rounding,
    normalise,
    pad_to_square,
)

SIZES = [(64, 64), (33, 33), (50, 131), (131, 50), (1, 1), (300, 301), (7, 90)]


def picture(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height * 1000 + width).integers(0, 256, (height, width, 3), dtype=np.uint8)


def as_images(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(pixels).float()[None] / 255


def pillow_crop(pixels: np.ndarray, size: int) -> np.ndarray:
    height, width = pixels.shape[:2]
    short = min(height, width)
    resized = Image.fromarray(pixels).resize((size * width // short, size * height // short), Image.Resampling.BICUBIC)
    left, top = (resized.width - size) // 2, (resized.height - size) // 2
    return np.asarray(resized.crop((left, top, left + size, top + size)))


@pytest.mark.parametrize("shape", SIZES)
def test_cropping_equals_pillow(shape):
    pixels = picture(*shape)
    ours = (crop_centre(as_images(pixels), 32)[0].movedim(0, -1) * 255).round().int().numpy()
    np.testing.assert_array_equal(ours, pillow_crop(pixels, 32))


@pytest.mark.parametrize("shape", SIZES)
def test_clip_image_processor_gives_the_same(shape):
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    processor = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    pixels = picture(*shape)
    theirs = torch.as_tensor(processor(Image.fromarray(pixels), return_tensors="pt")["pixel_values"])
    ours = normalise(crop_centre(as_images(pixels), 32))
    assert (ours - theirs).abs().max() < 1e-5  # the order of two divisions


def test_half_of_an_odd_border_is_rounded_down_or_to_even():
    levels = torch.randint(0, 256, (1, 32, 35, 3)) / 255
    whole = levels.movedim(-1, 1)  # 3 columns to cut off: 1 on the left, or round(1.5) = 2
    assert torch.allclose(crop_centre(levels, 32), whole[..., 1:33])
    assert torch.allclose(crop_centre_rounding(levels, 32), whole[..., 2:34])


def test_a_picture_of_the_right_size_is_not_touched():
    images = torch.rand(2, 32, 32, 3)
    assert torch.equal(crop_centre(images, 32), images.movedim(-1, 1))
    assert torch.equal(pad_to_square(images, 32), images.movedim(-1, 1))


@pytest.mark.parametrize(
    ("shape", "inside"),
    [((40, 80), (8, 0, 16, 32)), ((80, 40), (0, 8, 32, 16)), ((64, 70), (1, 0, 29, 32)), ((1, 200), (15, 0, 1, 32))],
)
def test_padding_keeps_the_whole_picture_on_black(shape, inside):
    padded = pad_to_square(torch.ones(1, *shape, 3), 32)
    top, left, height, width = inside
    expected = torch.zeros(1, 3, 32, 32)
    expected[..., top : top + height, left : left + width] = 1
    assert padded.shape == expected.shape
    assert torch.allclose(padded, expected, atol=1e-5)  # weights of a resize add up to 1 but for rounding


def test_normalising_uses_the_channel_statistics():
    pixels = torch.tensor(OPENAI_MEAN)[:, None, None].expand(1, 3, 2, 2)
    assert torch.equal(normalise(pixels), torch.zeros(1, 3, 2, 2))
    assert torch.allclose(normalise(pixels + torch.tensor(OPENAI_STD)[:, None, None]), torch.ones(1, 3, 2, 2))


def test_the_batch_does_not_matter():
    images = torch.rand(5, 41, 77, 3)
    for prepare in (crop_centre, pad_to_square):
        alone = torch.cat([prepare(image[None], 32) for image in images])
        assert torch.allclose(prepare(images, 32), alone, atol=1e-6)
