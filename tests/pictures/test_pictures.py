import xml.etree.ElementTree

import pytest
import torch
from PIL import Image

from treegrpo.errors import UsageError
from treegrpo.pictures.contact_sheet import save_contact_sheet
from treegrpo.pictures.image_file import read_image, save_image
from treegrpo.pictures.reward_curve import save_reward_curve
from treegrpo.pictures.tree_picture import row, save_tree_picture

RED, BLUE = torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.0, 0.0, 1.0])


def share(picture, colour):
    """The share of pixels of a picture file that are close to a colour."""
    return float(((read_image(picture) - colour).abs().amax(-1) < 0.1).float().mean())


def generation(step, count, advantage=()):
    return {"step": step, "count": count, "log_prob": [], "advantage": list(advantage), "share": []}


TREE = {
    "prompts": ["bear"],
    "sigmas": [1.0, 0.9, 0.6, 0.3, 0.0],
    "generations": [generation(1, 1), generation(2, 2, [-1.0, 1.0]), generation(4, 4, [-0.25, 0.25, -0.25, 0.25])],
    "rewards": {"r": [0.25, 0.75, None, None]},
}
"""One root, two children of it, two leaves under each."""


def test_contact_sheet_has_before_on_the_left_and_after_on_the_right(tmp_path):
    file = tmp_path / "sheet.png"
    drawn = {name: colour.expand(2, 3, 16, 16, 3) for name, colour in (("before", RED), ("after", BLUE))}
    save_contact_sheet(file, ["bear", "frog"], drawn)
    with Image.open(file) as sheet:
        width, height = sheet.size
        sheet.crop((0, 0, width // 2, height)).save(tmp_path / "left.png")
        sheet.crop((width // 2, 0, width, height)).save(tmp_path / "right.png")
    assert share(tmp_path / "left.png", RED) > 0.3
    assert share(tmp_path / "left.png", BLUE) == 0
    assert share(tmp_path / "right.png", BLUE) > 0.3
    assert share(tmp_path / "right.png", RED) == 0


def test_reward_curve_draws_every_reward(tmp_path):
    def rows(names):
        return [
            {
                "iteration": i,
                "reward": dict.fromkeys(names, float(i)),
                "spread": dict.fromkeys(names, 0.5),
                "heldout": 1.0 if i == 2 else None,
            }
            for i in range(4)
        ]

    save_reward_curve(tmp_path / "one.png", rows(["a"]))
    save_reward_curve(tmp_path / "two.png", rows(["a", "b"]))
    with Image.open(tmp_path / "one.png") as one, Image.open(tmp_path / "two.png") as two:
        assert two.size[1] > 1.5 * one.size[1]


def test_rows_put_parents_amid_their_children():
    assert [row(i, 4, 4) for i in range(4)] == [0, 1, 2, 3]
    assert [row(i, 2, 4) for i in range(2)] == [0.5, 2.5]
    assert row(0, 1, 4) == 1.5


def test_tree_picture_as_png_and_svg(tmp_path):
    images = RED.expand(7, 16, 16, 3)
    files = [tmp_path / "tree.png", tmp_path / "tree.svg"]
    save_tree_picture(files, TREE, images, prompt=0)
    assert share(files[0], RED) > 0.02
    words = xml.etree.ElementTree.parse(files[1])
    pictures = [element for element in words.iter() if element.tag.endswith("image")]
    assert len(pictures) >= 7, "every node has its thumbnail"


def test_tree_picture_before_anything_is_known_of_the_edges(tmp_path):
    bare = {**TREE, "generations": [generation(1, 1), generation(2, 2), generation(4, 4)], "rewards": {}}
    save_tree_picture([tmp_path / "tree.png"], bare, RED.expand(7, 16, 16, 3), prompt=0)
    assert share(tmp_path / "tree.png", RED) > 0.02


def test_image_files(tmp_path):
    pixels = torch.rand(8, 9, 3, generator=torch.Generator().manual_seed(0))
    save_image(tmp_path / "a.png", pixels)
    # PNG holds 256 levels: rounding moves a value by at most half of one.
    torch.testing.assert_close(read_image(tmp_path / "a.png"), pixels, rtol=0, atol=0.5 / 255 + 1e-6)
    with pytest.raises(UsageError, match="cannot be read as a picture"):
        read_image(tmp_path / "missing.png")
    (tmp_path / "text.png").write_text("no")
    with pytest.raises(UsageError, match="cannot be read as a picture"):
        read_image(tmp_path / "text.png")
