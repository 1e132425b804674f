import numpy as np
import torch
from hypothesis import given, settings
from hypothesis.strategies import integers
from PIL import Image

from treegrpo.rewards.bicubic import resize_levels


@settings(deadline=None, max_examples=100)
@given(integers(1, 200), integers(1, 200), integers(1, 200), integers(1, 200), integers(0, 2**32))
def test_resizing_equals_pillow_to_the_last_bit(height, width, rows, columns, seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    theirs = Image.fromarray(pixels).resize((columns, rows), Image.Resampling.BICUBIC)
    ours = resize_levels(torch.from_numpy(pixels).movedim(-1, 0) / 255, rows, columns).movedim(0, -1) * 255
    np.testing.assert_array_equal(ours.round().int().numpy(), np.asarray(theirs))
