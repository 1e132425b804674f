import pytest
import torch

from tests.backends.test_families import INSTRUCTIONS, PROMPTS, open_tiny
from treegrpo.errors import UsageError


@pytest.fixture
def encoded(monkeypatch):
    """A tiny policy, and the list of what its family has encoded."""
    policy, texts = open_tiny("sd3"), []
    encode = policy.family.encode
    monkeypatch.setattr(policy.family, "encode", lambda p, given, n: texts.append(given) or encode(p, given, n))
    return policy, texts


def test_each_text_is_encoded_once_and_alone(encoded):
    policy, texts = encoded
    [(_, first)] = policy.texts.conditioning(["bear", "frog", "bear"])
    [(rows, second)] = policy.texts.conditioning(["frog", "bell", "bear"])
    assert texts == [["bear"], ["frog"], ["bell"]]
    assert torch.equal(first[0][0], second[0][2])
    assert torch.equal(first[1][1], second[1][0])
    assert rows.tolist() == [0, 1, 2]


def test_texts_are_encoded_again_where_nothing_is_kept(encoded):
    policy, texts = encoded
    [(_, first)] = policy.texts.conditioning(PROMPTS)
    with policy.without_embeddings():
        [(_, second)] = policy.texts.conditioning(PROMPTS)
    assert texts == [[text] for text in PROMPTS] * 2
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_what_cannot_be_stacked_comes_apart_with_its_places():
    texts = open_tiny("qwen_image_edit").texts
    wide, square = INSTRUCTIONS
    groups = texts.conditioning([square, wide, square], negatives=[wide])
    assert [rows.tolist() for rows, _ in groups] == [[0, 2], [1, 3]]
    for rows, conditioning in groups:
        assert all(len(part) == len(rows) for part in conditioning)
    [(_, alone)] = texts.conditioning([square])
    assert all(torch.equal(part[1:], other) for part, other in zip(groups[1][1], alone, strict=True))


def test_pictures_go_with_models_that_change_them_and_with_no_others():
    with pytest.raises(UsageError, match='changes pictures, and "bear" has none; give a folder'):
        open_tiny("qwen_image_edit").prepare(PROMPTS)
    with pytest.raises(UsageError, match='"bear" says what to change in a picture, and Stable Diffusion'):
        open_tiny("sd15").prepare(INSTRUCTIONS)
