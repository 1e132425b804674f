import pytest
import torch

from treegrpo.errors import UsageError
from treegrpo.rewards.similar import similar_images, unlike_images


def mean_colour(images: torch.Tensor) -> torch.Tensor:
    return images.mean((1, 2))


RED, GREEN = torch.eye(3)[0].expand(1, 4, 4, 3), torch.eye(3)[1].expand(1, 4, 4, 3)


def test_likeness_is_the_mean_cosine():
    images, references = torch.rand(6, 4, 4, 3), torch.rand(3, 4, 4, 3)
    cosines = torch.nn.functional.cosine_similarity(mean_colour(images)[:, None], mean_colour(references)[None], dim=2)
    scores = similar_images(mean_colour, references).score(images, [""] * 6)
    assert torch.allclose(scores, cosines.mean(1), atol=1e-6)
    assert torch.allclose(unlike_images(mean_colour, references).score(images, [""] * 6), -cosines.mean(1), atol=1e-6)


def test_what_all_references_share_beats_a_copy_of_one():
    both = torch.cat([RED, GREEN])
    scores = similar_images(mean_colour, both).score(torch.cat([RED, (RED + GREEN) / 2]), ["", ""])
    assert scores[1] > scores[0]


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_references_may_be_grey_or_have_alpha(channels):
    assert similar_images(mean_colour, torch.ones(2, 4, 4, channels)).score(torch.ones(1, 4, 4, 3), [""]).item() == (
        pytest.approx(1.0)
    )


@pytest.mark.parametrize(
    ("shape", "words"), [((0, 4, 4, 3), "empty"), ((4, 4, 3), "batch"), ((1, 4, 4, 5), "channels")]
)
def test_references_that_cannot_be_are_refused(shape, words):
    with pytest.raises(UsageError, match=words):
        similar_images(mean_colour, torch.ones(shape))


def test_an_encoder_without_vectors_is_refused():
    with pytest.raises(UsageError, match="one vector per picture"):
        similar_images(lambda images: images, RED)
