import pytest
import torch

from treegrpo.rewards.cielab import lab


@pytest.mark.parametrize(
    ("rgb", "expected"),
    [
        ((1, 0, 0), (53.24, 80.09, 67.20)),
        ((0, 1, 0), (87.73, -86.18, 83.18)),
        ((0, 0, 1), (32.30, 79.19, -107.86)),
        ((1, 1, 1), (100, 0, 0)),
        ((0, 0, 0), (0, 0, 0)),
    ],
)
def test_published_values(rgb, expected):
    assert torch.allclose(
        lab(torch.tensor(rgb, dtype=torch.float32)), torch.tensor(expected).float(), atol=0.01
    )  # two digits are given


def test_greys_are_neutral_and_rise_without_a_jump():
    greys = torch.linspace(0, 1, 256)
    lightness, a, b = lab(greys[:, None].expand(-1, 3)).unbind(-1)
    assert torch.stack([a, b]).abs().max() < 1e-3  # 500 times the float32 rounding of a difference
    steps = lightness.diff()
    assert steps.min() > 0.25  # 100 / 256 on average, and at least 903.3 / 255 / 12.92 = 0.27 near black
    assert steps.diff().abs().max() < 0.05  # a knee in either curve at the wrong place would show as a jump
