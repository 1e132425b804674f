import random
import socket
import sys
from math import isnan

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFont

from treegrpo.errors import UsageError
from treegrpo.rewards.ocr import MODELS, Ocr, likeness, plain, reader, reading_order, stretch_distance, wanted
from treegrpo.rewards.reward import score

LETTERS = st.text("abc", max_size=6)


def picture(*words, size=48):
    """float32 [256, 256, 3]: words, each with its x and y, in black on white."""
    image = Image.new("RGB", (256, 256), "white")
    for text, x, y in words:
        ImageDraw.Draw(image).text((x, y), text, fill="black", font=ImageFont.load_default(size=size))
    return torch.from_numpy(np.array(image)).float() / 255


def scores(pictures, *prompts):
    return score(Ocr(), torch.stack(pictures), prompts).tolist()


@pytest.fixture
def _fresh():
    reader.cache_clear()
    yield
    reader.cache_clear()


def test_the_text_that_was_asked_for_reads_best():
    shown = picture(("OPEN 24", 20, 100))
    prompts = [f'a sign that says "{text}"' for text in ("OPEN 24", "open24", "OPEN 74", "BAKE")]
    right, folded, near, wrong = scores([shown] * 4, *prompts)
    assert right == folded == 1
    assert near == pytest.approx(5 / 6)
    assert wrong == 0.25  # the E alone


def test_a_blank_picture_scores_0():
    assert scores([torch.ones(64, 64, 3), torch.zeros(64, 64, 3)], '"OPEN"', '"OPEN"') == [0, 0]


def test_lines_are_read_from_top_to_bottom_and_words_from_left_to_right():
    # MIND stands 12 pixels higher than OPEN, on the same line.
    shown = picture(("OPEN", 5, 60), ("MIND", 160, 48), ("EYES", 40, 170), size=40)
    right, wrong = scores([shown] * 2, "“OPEN” over «mind» and 「EYES」", '"EYES", "MIND", "OPEN"')
    assert right == 1
    assert wrong == 0.5  # MIND and two letters E, of twelve


def test_every_picture_is_scored_by_itself():
    pictures = [picture((text, 20, 100)) for text in ("OPEN", "SHUT")] + [torch.ones(256, 256, 3)]
    prompts = ['"OPEN"', '"SHOT"', '"OPEN"']
    assert scores(pictures, *prompts) == [1, 0.75, 0]
    assert scores(pictures[::-1], *prompts[::-1]) == [0, 0.75, 1]


@pytest.mark.parametrize(
    ("prompt", "text"),
    [
        ('a sign that says "OPEN"', "open"),
        ("“It’s ON” and ‘don’t stop’", "it'sondon'tstop"),
        ("«ÉTÉ», 「開門」", "été開門"),
        ('写着"开门"的牌子', "开门"),
        ('a 5" tall "A" beside "B…"', "ab..."),
        ("\"two\nlines\" of the dog's 'bowl'", "twolines"),
    ],
)
def test_quotes(prompt, text):
    assert wanted(prompt) == text


@pytest.mark.parametrize("prompt", ["", "a dog", "the dog's and the cats' bowl", "dogs’ and cats’ bowls", 'a " " sign'])
def test_prompts_without_text_in_quotes_are_not_judged(prompt):
    assert isnan(scores([torch.ones(64, 64, 3)], prompt)[0])
    with pytest.raises(UsageError, match=r"ocr finds no text in quotes in any prompt, such as \".*\"; put the words"):
        Ocr().check([prompt, prompt])
    [sentence] = Ocr().check(['a sign, "OPEN"', prompt])
    assert sentence.startswith("ocr has no opinion on 1 of 2 prompts")
    assert Ocr().check(['a sign, "OPEN"']) == []


def edit_distance(a, b):
    """By its definition."""
    if not a or not b:
        return len(a) + len(b)
    changed = edit_distance(a[1:], b[1:]) + (a[0] != b[0])
    return min(changed, edit_distance(a[1:], b) + 1, edit_distance(a, b[1:]) + 1)


@given(st.text("abc", max_size=4), st.text("abc", max_size=4))
def test_the_distance_is_the_least_of_all_stretches(text, found):
    stretches = {found[start:end] for start in range(len(found) + 1) for end in range(start, len(found) + 1)}
    assert stretch_distance(text, found) == min(edit_distance(text, stretch) for stretch in stretches)


@given(LETTERS.filter(bool), LETTERS, LETTERS)
def test_text_around_the_wanted_one_costs_nothing(text, before, after):
    assert likeness(text, before + text + after) == 1
    assert likeness(text, "") == 0


def test_case_spaces_and_the_shape_of_characters_do_not_count():
    assert plain(" Straße  ＡＢ\n’… ") == "strasseab'..."


@given(st.randoms(use_true_random=False))
def test_the_reading_order_does_not_depend_on_the_order_of_the_boxes(shuffle: random.Random):
    corners = [(0, 10), (120, 0), (240, 20), (0, 60), (60, 58)]  # two lines of boxes 50 x 40
    boxes = np.array([[(x, y), (x + 50, y), (x + 50, y + 40), (x, y + 40)] for x, y in corners], dtype=np.float32)
    mixed = shuffle.sample(range(5), 5)
    assert [mixed[i] for i in reading_order(boxes[mixed])] == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("module", ["rapidocr", "onnxruntime"])
@pytest.mark.usefixtures("_fresh")
def test_a_missing_library_is_named(monkeypatch, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UsageError, match=rf"{module}.*pip install rapidocr onnxruntime\.$"):
        Ocr()


@pytest.mark.usefixtures("_fresh")
def test_a_missing_model_is_named_and_not_fetched(monkeypatch):
    monkeypatch.setitem(MODELS, "Rec.model_path", "other.onnx")
    with pytest.raises(UsageError, match=r"ocr needs other\.onnx, which is not in .*models; pip install 'rapidocr=="):
        Ocr()


@pytest.mark.usefixtures("_fresh")
def test_it_runs_without_a_network_and_without_a_word(monkeypatch, capfd):
    def refuse(*args, **kwargs):
        raise AssertionError("asked for the network")

    for call in ("connect", "connect_ex"):
        monkeypatch.setattr(socket.socket, call, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    assert scores([picture(("OPEN", 20, 100)), torch.ones(256, 256, 3)], '"OPEN"', '"OPEN"') == [1, 0]
    assert capfd.readouterr() == ("", "")
