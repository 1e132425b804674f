"""Colour as a reward: measures that need no model, and a palette to keep to."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from PIL import ImageColor
from torch import Tensor

from ..errors import UsageError
from .cielab import lab


class Brightness:
    """Mean CIE lightness / 100: 0 (black) to 1 (white). Raises nothing."""

    name = "brightness"

    def score(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """Scores float32 [N] for images float32 [N, H, W, 3] in 0..1; the prompts do not matter."""
        return lab(images)[..., 0].mean((1, 2)).cpu() / 100


class Contrast:
    """Standard deviation of CIE lightness / 100 over the picture: 0 (one lightness) to 0.5 (half black, half white).

    Raises nothing.
    """

    name = "contrast"

    def score(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """Scores float32 [N] for images float32 [N, H, W, 3] in 0..1; the prompts do not matter."""
        return lab(images)[..., 0].std((1, 2), correction=0).cpu() / 100


class Saturation:
    """Mean CIELAB chroma / 100: 0 (grey) to 1.34 (pure blue, of which sRGB has the highest chroma). Raises nothing.

    Not the saturation of HSV, which is a ratio: in pixels that are nearly black it is noise, up to 1 for a colour that
    no eye sees.
    """

    name = "saturation"

    def score(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """Scores float32 [N] for images float32 [N, H, W, 3] in 0..1; the prompts do not matter."""
        return lab(images)[..., 1:].norm(dim=-1).mean((1, 2)).cpu() / 100


class Colourfulness:
    """How colourful people find a picture: 0 (grey); 33 is moderate, 109 extreme, and more is possible. Raises nothing.

    The third measure of Hasler and Suesstrunk, "Measuring colourfulness in natural images" (2003): the spread and the
    mean of two opponent colours, red against green and yellow against blue, of values in 0..255.
    """

    name = "colourfulness"

    def score(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """Scores float32 [N] for images float32 [N, H, W, 3] in 0..1; the prompts do not matter."""
        red, green, blue = (255 * images).flatten(1, 2).unbind(-1)
        opponents = torch.stack([red - green, (red + green) / 2 - blue])  # [2, N, H W]
        spread, mean = opponents.std(-1, correction=0).norm(dim=0), opponents.mean(-1).norm(dim=0)
        return (spread + 0.3 * mean).cpu()


class Palette:
    """Closeness to a palette: 0 where a picture is made of its k colours alone, and otherwise below 0.

    Minus the sum of two means of distances (CIE76 Delta E) / 100: of each pixel to the nearest colour of the palette,
    and of each colour to the nearest 1 / 2k of the pixels, so that none is ignored. Half an even share is asked for,
    which leaves the other half to the composition.
    colours: such as "#e63946, #f1faee" or "navy, white", parted by commas or spaces.
    Raises UsageError for no colours, and for one that is none.
    """

    name = "palette"

    def __init__(self, colours: str = "") -> None:
        levels = [_rgb(colour) for colour in colours.replace(",", " ").split()]
        if not levels:
            raise UsageError('rewards: palette.colours is empty; give colours such as "#e63946, #f1faee".')
        self.colours = lab(torch.tensor(levels) / 255)

    def score(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """Scores float32 [N] for images float32 [N, H, W, 3] in 0..1; the prompts do not matter."""
        return torch.stack([-self._distance(picture) / 100 for picture in images]).cpu()

    def _distance(self, picture: Tensor) -> Tensor:
        """The sum of both means, for one picture [H, W, 3] and one colour at a time: large ones need little memory."""
        pixels = lab(picture).flatten(0, 1)
        share = max(1, len(pixels) // (2 * len(self.colours)))
        nearest, missing = pixels.new_full((len(pixels),), torch.inf), pixels.new_zeros(())
        for colour in self.colours.to(pixels):
            distances = (pixels - colour).norm(dim=1)
            nearest = nearest.minimum(distances)
            missing += distances.topk(share, largest=False, sorted=False).values.mean()
        return nearest.mean() + missing / len(self.colours)


def _rgb(colour: str) -> tuple[int, ...]:
    """Red, green and blue in 0..255 of a name or #rrggbb. Raises UsageError for anything else, such as an alpha."""
    try:
        levels: tuple[int, ...] = ImageColor.getrgb(colour)
    except ValueError:
        levels = ()
    if len(levels) != 3:
        raise UsageError(f'rewards: palette.colours: "{colour}" is not a colour; write it as #e63946, or by its name.')
    return levels
