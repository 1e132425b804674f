"""Sheets: every picture where its layout says, small enough for a browser."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from treegrpo.run.sheet import LARGEST, PIXELS, Layout, save_sheet


@given(st.integers(1, 50_000), st.integers(1, 3000), st.integers(1, 3000))
@settings(deadline=None, derandomize=True)
def test_tiles_fit_and_keep_their_shape(count, width, height):
    layout = Layout.fitting(count, width, height)
    assert 1 <= layout.columns <= count
    assert max(layout.width, layout.height) <= LARGEST
    assert layout.width <= width
    assert layout.height <= height
    # A tile of one pixel cannot shrink further.
    assert count * layout.width * layout.height <= PIXELS or 1 in (layout.width, layout.height)
    if min(layout.width, layout.height) > 20:  # below, whole pixels cost more than a tenth
        assert 0.9 < (layout.width / layout.height) / (width / height) < 1.1


def test_every_picture_is_in_its_place(tmp_path):
    colours = torch.rand(7, 3, generator=torch.Generator().manual_seed(0))
    images = colours[:, None, None].expand(7, 32, 16, 3)
    layout = save_sheet(tmp_path / "sheet.jpg", images)
    with Image.open(tmp_path / "sheet.jpg") as sheet:
        for i, colour in enumerate(colours):
            left, top = layout.corner(i)
            found = torch.tensor(sheet.getpixel((left + 8, top + 16))) / 255
            assert (found - colour).abs().max() < 0.03  # JPEG at quality 90


def test_4096_leaves_are_decoded_without_trouble():
    layout = Layout.fitting(8 * 4096, 1024, 1024)
    assert layout.tiles * layout.width * layout.height <= PIXELS
    assert layout.width >= 20
