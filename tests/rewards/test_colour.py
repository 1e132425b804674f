import pytest
import torch
from hypothesis import given, settings
from hypothesis.strategies import integers

from treegrpo.errors import UsageError
from treegrpo.rewards.colour import Brightness, Colourfulness, Contrast, Palette, Saturation

REWARDS = [Brightness(), Contrast(), Saturation(), Colourfulness(), Palette("#e63946, #f1faee, navy")]

BLACK, WHITE, RED, GREEN, BLUE = torch.tensor([[0.0, 0, 0], [1, 1, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1]])


def mosaic(*colours: torch.Tensor) -> torch.Tensor:
    """A picture [1, 6, 6, 3] with an equal number of pixels of each of the colours."""
    return torch.stack(colours).repeat(36 // len(colours), 1).view(1, 6, 6, 3)


def score(reward, *colours: torch.Tensor) -> float:
    return reward.score(mosaic(*colours), [""]).item()


def test_brightness_and_contrast_of_black_and_white():
    assert score(Brightness(), BLACK) == pytest.approx(0, abs=1e-6)
    assert score(Brightness(), WHITE) == pytest.approx(1, abs=1e-6)
    assert score(Brightness(), BLACK, WHITE) == pytest.approx(0.5, abs=1e-6)
    assert score(Contrast(), BLACK, WHITE) == pytest.approx(0.5, abs=1e-6)
    assert score(Contrast(), RED) == pytest.approx(0, abs=1e-6)


def test_saturation_is_chroma():
    # sqrt(80.09^2 + 67.20^2) = 104.55 and sqrt(79.19^2 + 107.86^2) = 133.81, by the published a and b of red and blue.
    assert score(Saturation(), RED) == pytest.approx(1.0455, abs=2e-4)
    assert score(Saturation(), BLUE) == pytest.approx(1.3381, abs=2e-4)
    assert score(Saturation(), BLUE, WHITE) == pytest.approx(1.3381 / 2, abs=2e-4)
    assert score(Saturation(), BLACK + torch.tensor([2 / 255, 0, 0])) < 0.02  # of which HSV's saturation is 1


def test_colourfulness_by_hand():
    # Red has rg = 255 and yb = 127.5, green -255 and 127.5, blue 0 and -255.
    assert score(Colourfulness(), RED) == pytest.approx(0.3 * (255**2 + 127.5**2) ** 0.5, rel=1e-5)
    assert score(Colourfulness(), RED, GREEN) == pytest.approx(255 + 0.3 * 127.5, rel=1e-5)
    # All three: means 0 and 0, variances 2/3 255^2 and 255^2/2.
    assert score(Colourfulness(), RED, GREEN, BLUE) == pytest.approx(255 * (2 / 3 + 1 / 2) ** 0.5, rel=1e-5)
    assert score(Colourfulness(), BLACK, WHITE) == pytest.approx(0, abs=1e-4)


def test_palette_by_hand():
    palette = Palette("#000000, #ffffff")
    assert score(palette, BLACK, WHITE) == pytest.approx(0, abs=1e-5)
    assert score(palette, BLACK, BLACK, WHITE) == pytest.approx(0, abs=1e-5)  # a third is more than half a half
    # Black is 100 from white: no pixel is off the palette, but one colour of two is 100 away.
    assert score(palette, BLACK) == pytest.approx(-0.5, abs=1e-5)
    # A sixth is white: of the nearest quarter of the pixels (9), 6 are white and 3 black.
    assert score(palette, *[BLACK] * 5, WHITE) == pytest.approx(-0.5 / 3, abs=1e-5)
    # Red is 104.55 off the axis of greys, at lightness 53.24: 114.53 from white and 117.33 from black.
    assert score(palette, RED) == pytest.approx(-1.1453 - (1.1453 + 1.1733) / 2, abs=2e-4)


def test_a_palette_of_one_colour_asks_for_it_alone():
    palette = Palette("red")
    assert score(palette, RED) > score(palette, RED, RED, GREEN) > score(palette, RED, GREEN) > score(palette, GREEN)


def test_colours_may_be_written_in_several_ways():
    ways = [Palette(colours).colours for colours in ("#ff0000,#fff", " red   white ", "#F00, #FFFFFF,")]
    assert all(torch.equal(ways[0], way) for way in ways)


@pytest.mark.parametrize("colours", ["", "  ", ",,"])
def test_a_palette_needs_colours(colours):
    with pytest.raises(UsageError, match=r"palette\.colours is empty"):
        Palette(colours)


@pytest.mark.parametrize("bad", ["#e6394", "#gggggg", "#e6394680", "reddish", "1"])
def test_a_bad_colour_is_named(bad):
    with pytest.raises(UsageError, match=f'"{bad}" is not a colour; '):
        Palette(f"#fff, {bad}, navy")


@pytest.mark.parametrize("reward", REWARDS, ids=lambda reward: reward.name)
@given(seed=integers(0, 2**32), height=integers(1, 9), width=integers(1, 9), cut=integers(1, 4))
@settings(max_examples=20, deadline=None)
def test_neither_order_nor_batch_size_matters(reward, seed, height, width, cut):
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(5, height, width, 3, generator=generator)
    scores = reward.score(images, [""] * 5)
    order = torch.randperm(5, generator=generator)
    parts = torch.cat([reward.score(part, [""] * len(part)) for part in images[order].split(cut)])
    assert scores.dtype == torch.float32
    assert torch.isfinite(scores).all()
    assert torch.allclose(parts, scores[order], rtol=1e-5, atol=1e-5)  # sums of float32 in another order
    pixels = torch.randperm(height * width, generator=generator)
    shuffled = images.flatten(1, 2)[:, pixels].view_as(images)  # these measures do not know where a colour is
    assert torch.allclose(reward.score(shuffled, [""] * 5), scores, rtol=1e-5, atol=1e-5)
