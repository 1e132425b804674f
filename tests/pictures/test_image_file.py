import numpy as np
import pytest
import torch
from PIL import Image

from treegrpo.errors import UsageError
from treegrpo.pictures.image_file import digest, pictures_in, read_image, save_image

RAMP = torch.linspace(0, 1, 24).reshape(4, 6, 1).expand(4, 6, 3)
LEVEL = 0.5 / 255
"""Files of 8 bits round to the nearest of 256 levels."""


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_upright_however_the_camera_was_held(tmp_path, orientation):
    levels = (RAMP * 255).round().to(torch.uint8).numpy()
    undone = {  # what the camera did, so that the tag has to undo it
        1: levels,
        2: levels[:, ::-1],
        3: levels[::-1, ::-1],
        4: levels[::-1],
        5: levels.transpose(1, 0, 2),
        6: levels.transpose(1, 0, 2)[::-1],
        7: levels.transpose(1, 0, 2)[::-1, ::-1],
        8: levels.transpose(1, 0, 2)[:, ::-1],
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(undone)).save(tmp_path / "a.png", exif=exif)
    torch.testing.assert_close(read_image(tmp_path / "a.png"), RAMP, rtol=0, atol=LEVEL)


@pytest.mark.parametrize("bits", [8, 16])
def test_grey_is_as_bright_with_any_number_of_bits(tmp_path, bits):
    kind = np.uint8 if bits == 8 else np.uint16
    Image.fromarray((RAMP[..., 0].numpy() * (2**bits - 1)).round().astype(kind)).save(tmp_path / "a.png")
    found = read_image(tmp_path / "a.png")
    assert found.shape == (4, 6, 3)
    torch.testing.assert_close(found, RAMP, rtol=0, atol=LEVEL)


def test_what_is_no_picture_is_a_sentence(tmp_path, monkeypatch):
    (tmp_path / "text.png").write_text("text")
    save_image(tmp_path / "cut.png", RAMP)
    whole = (tmp_path / "cut.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    save_image(tmp_path / "large.png", RAMP)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 5)
    for name in ("text.png", "cut.png", "large.png", "missing.png"):
        with pytest.raises(UsageError, match=f'images: ".*{name}" cannot be read as a picture') as caught:
            read_image(tmp_path / name)
        assert "\n" not in str(caught.value)


def test_a_folder_has_the_pictures_that_people_see(tmp_path):
    for name in ("b.png", "a.JPG", "._a.JPG", ".hidden.png", "Thumbs.db", "words.txt"):
        (tmp_path / name).write_bytes(b"")
    assert [file.name for file in pictures_in(tmp_path)] == ["a.JPG", "b.png"]
    assert pictures_in(tmp_path / "missing") == []


def test_a_digest_is_of_what_a_file_holds():
    levels = (RAMP * 255).round() / 255
    assert digest(levels) == digest(levels + 1e-4)
    assert digest(levels) != digest(levels.flip(0))
