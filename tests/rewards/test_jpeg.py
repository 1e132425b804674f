import torch

from treegrpo.rewards.jpeg import JpegCompressibility, JpegIncompressibility, jpeg_kilobytes


def test_plain_pictures_compress_better_than_noise():
    plain = torch.full((64, 64, 3), 0.5)
    noise = torch.rand(64, 64, 3, generator=torch.Generator().manual_seed(0))
    images = torch.stack([plain, noise])
    small, large = jpeg_kilobytes(images).tolist()
    assert 0.5 < small < 1.0 < 5.0 < large < 15.0
    assert torch.equal(JpegCompressibility().score(images, ["", ""]), -jpeg_kilobytes(images))
    assert torch.equal(JpegIncompressibility().score(images, ["", ""]), jpeg_kilobytes(images))
