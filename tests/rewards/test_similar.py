import pytest
import torch

from treegrpo.bundled import EMOJI_CLIP
from treegrpo.errors import UsageError
from treegrpo.pictures.image_file import save_image
from treegrpo.pictures.instruction import Instruction
from treegrpo.rewards.clipscore import ClipScore
from treegrpo.rewards.registry import create
from treegrpo.rewards.reward import check_prompts
from treegrpo.rewards.similar import Similar


def mean_colour(images: torch.Tensor) -> torch.Tensor:
    return images.mean((1, 2))


RED, GREEN = torch.eye(3)[0].expand(1, 4, 4, 3), torch.eye(3)[1].expand(1, 4, 4, 3)


def test_likeness_is_the_mean_cosine():
    images, references = torch.rand(6, 4, 4, 3), torch.rand(3, 4, 4, 3)
    cosines = torch.nn.functional.cosine_similarity(mean_colour(images)[:, None], mean_colour(references)[None], dim=2)
    scores = Similar(mean_colour, [references]).score(images, [""] * 6)
    assert torch.allclose(scores, cosines.mean(1), atol=1e-6)
    assert torch.allclose(Similar(mean_colour, [references], -1).score(images, [""] * 6), -cosines.mean(1), atol=1e-6)


def test_what_all_references_share_beats_a_copy_of_one():
    both = torch.cat([RED, GREEN])
    scores = Similar(mean_colour, both.split(1)).score(torch.cat([RED, (RED + GREEN) / 2]), ["", ""])
    assert scores[1] > scores[0]


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_references_may_be_grey_or_have_alpha(channels):
    assert Similar(mean_colour, [torch.ones(2, 4, 4, channels)]).score(torch.ones(1, 4, 4, 3), [""]).item() == (
        pytest.approx(1.0)
    )


@pytest.mark.parametrize(
    ("shape", "words"), [((0, 4, 4, 3), "empty"), ((4, 4, 3), "batch"), ((1, 4, 4, 5), "channels")]
)
def test_references_that_cannot_be_are_refused(shape, words):
    with pytest.raises(UsageError, match=words):
        Similar(mean_colour, [torch.ones(shape)])


@pytest.mark.parametrize("sign", [1, -1])
def test_without_references_each_picture_is_compared_with_what_its_prompt_changes(sign):
    prompts = [Instruction("bluer", RED[0]), Instruction("bluer", GREEN[0])]
    scores = Similar(mean_colour, sign=sign).score(torch.cat([RED, RED]), prompts)
    assert scores.tolist() == pytest.approx([sign * 1.0, 0.0])


def test_prompts_that_change_nothing_are_refused_before_anything_is_drawn():
    with pytest.raises(UsageError, match="similar_images has no pictures to compare with"):
        check_prompts(Similar(mean_colour), [Instruction("bluer", RED[0]), "a bear"])
    check_prompts(Similar(mean_colour, [RED]), ["a bear"])


def test_an_encoder_without_vectors_is_refused():
    with pytest.raises(UsageError, match="one vector per picture"):
        Similar(lambda images: images, [RED])


def test_a_folder_of_pictures_of_any_size(tmp_path):
    generator = torch.Generator().manual_seed(0)
    board = [torch.rand(height, 40, 3, generator=generator) for height in (20, 64)]
    for number, picture in enumerate(board):
        save_image(tmp_path / f"{number}.png", picture)
    (tmp_path / "notes.txt").write_text("not a picture")
    images = torch.rand(3, 64, 64, 3, generator=generator)
    clip = ClipScore().clip
    seen = torch.cat([clip.embed_images((picture[None] * 255).round() / 255) for picture in board])
    expected = (clip.embed_images(images) @ seen.T).mean(1)
    options = {"images": str(tmp_path), "model": str(EMOJI_CLIP)}
    assert torch.allclose(create("similar_images", **options).score(images, [""] * 3), expected, atol=1e-5)
    assert torch.allclose(create("unlike_images", **options).score(images, [""] * 3), -expected, atol=1e-5)


def test_a_folder_without_pictures_is_refused(tmp_path):
    for images in ("", str(tmp_path), str(tmp_path / "nowhere")):
        with pytest.raises(UsageError, match=r"is not a folder with \.png"):
            create("similar_images", images=images)
