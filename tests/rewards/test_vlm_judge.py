import io
import logging
from base64 import b64decode

import numpy as np
import pytest
import torch
from aiohttp import web
from PIL import Image

from tests.rewards.answering import answering
from treegrpo.errors import RunError, UsageError
from treegrpo.pictures.instruction import Instruction
from treegrpo.rewards.vlm_judge import VlmJudge, parse_points

IMAGES = torch.tensor([0.0, 0.5, 1.0])[:, None, None, None].expand(3, 4, 4, 3)
PROMPTS = ["a", "b", "c"]


def looking(form: str):
    async def answer(request: web.Request) -> web.Response:
        asked = await request.json()
        assert request.path == "/v1/chat/completions"
        text, image = asked["messages"][0]["content"]
        assert text["text"].endswith(("Prompt: a", "Prompt: b", "Prompt: c"))
        assert asked["temperature"] == 0
        kind, data = image["image_url"]["url"].split(",")
        assert kind == "data:image/png;base64"
        points = round(np.asarray(Image.open(io.BytesIO(b64decode(data)))).mean() / 25.5)
        return web.json_response({"choices": [{"message": {"content": form.format(points)}}]})

    return answer


@pytest.mark.parametrize(
    "form", ["{}", "{}/10", '{{"score": {}}}', "On a scale of 0 to 10 it has 2 faults: {} out of 10"]
)
@pytest.mark.parametrize("concurrency", [1, 4])
def test_a_model_that_looks_at_the_picture_is_understood(form, concurrency):
    with answering(looking(form)) as url:
        scores = VlmJudge(f"{url}/v1/", "eyes", concurrency=concurrency).score(IMAGES, PROMPTS)
    assert scores.tolist() == pytest.approx([0.0, 0.5, 1.0])


def test_it_sees_what_was_changed_before_what_came_of_it():
    async def answer(request: web.Request) -> web.Response:
        text, before, after = (await request.json())["messages"][0]["content"]
        assert "The first picture is what is to be changed." in text["text"]
        assert text["text"].endswith("Prompt: darker")
        grey = [
            np.asarray(Image.open(io.BytesIO(b64decode(each["image_url"]["url"].split(",")[1])))).mean() / 255
            for each in (before, after)
        ]
        return web.json_response({"choices": [{"message": {"content": f"{10 * (grey[0] - grey[1]):.0f}"}}]})

    with answering(answer) as url:
        scores = VlmJudge(f"{url}/v1", "eyes").score(IMAGES, [Instruction("darker", torch.ones(4, 4, 3))] * 3)
    assert scores.tolist() == pytest.approx([1.0, 0.5, 0.0])


@pytest.mark.parametrize(
    ("reply", "points"),
    [("7,5", 7.5), ("7.5", 7.5), ("11", None), ("-3", None), ("fine", None), ("", None), ("Score: 8.", 8.0)],
)
def test_points(reply, points):
    assert parse_points(reply) == points


@pytest.mark.parametrize(
    ("message", "said"),
    [
        ({"content": "I cannot say, " + "x" * 200}, 'answered "I cannot say, x'),
        ({"content": None, "refusal": "Not this one."}, 'answered "Not this one."'),
        ({"content": ""}, 'answered "", in which there is no number'),
        (None, "answered with status 400"),
    ],
)
def test_a_picture_that_is_declined_has_no_score_and_the_others_have(message, said, caplog):
    async def answer(request: web.Request) -> web.Response:
        text = (await request.json())["messages"][0]["content"][0]["text"]
        if not text.endswith("Prompt: b"):
            return web.json_response({"choices": [{"message": {"content": "5"}}]})
        return (
            web.Response(status=400, text="filtered")
            if message is None
            else web.json_response({"choices": [{"message": message}]})
        )

    with answering(answer) as url, caplog.at_level(logging.WARNING, "treegrpo"):
        scores = VlmJudge(f"{url}/v1", "eyes").score(IMAGES, PROMPTS)
    assert scores.isnan().tolist() == [False, True, False]
    assert scores[[0, 2]].tolist() == [0.5, 0.5]
    [sentence] = caplog.messages
    assert said in sentence
    assert sentence.endswith("(1 of 3 pictures)")
    assert "x" * 90 not in sentence


def test_another_protocol_is_refused():
    async def other(request: web.Request) -> web.Response:
        return web.json_response({"answer": 7})

    with answering(other) as url, pytest.raises(RunError, match="no chat completion"):
        VlmJudge(f"{url}/v1", "eyes").score(IMAGES, PROMPTS)


def test_a_model_must_be_named():
    with pytest.raises(UsageError, match="model"):
        VlmJudge("http://localhost:1/v1")
