import asyncio
import io
from base64 import b64decode

import numpy as np
import pytest
import torch
from aiohttp import web
from PIL import Image

from tests.rewards.answering import answering
from treegrpo.errors import RunError, UsageError
from treegrpo.rewards import post
from treegrpo.rewards.http_reward import HttpReward

IMAGES = torch.linspace(0, 1, 5)[:, None, None, None].expand(5, 4, 6, 3)
PROMPTS = ["a", "b", "c", "d", "e"]


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch):
    monkeypatch.setattr(post, "BACKOFF", 0.01)


def brightness(image: str) -> float:
    return float(np.asarray(Image.open(io.BytesIO(b64decode(image)))).mean() / 255)


async def judge(request: web.Request) -> web.Response:
    asked = await request.json()
    assert len(asked["images"]) == len(asked["prompts"])
    return web.json_response({"scores": [brightness(image) for image in asked["images"]]})


def test_null_is_no_opinion():
    async def answer(request: web.Request) -> web.Response:
        return web.json_response({"scores": [1, None, 0.5, None, 2]})

    with answering(answer) as url:
        scores = HttpReward(url).score(IMAGES, PROMPTS)
    assert scores.isnan().tolist() == [False, True, False, True, False]
    assert scores[[0, 2, 4]].tolist() == [1.0, 0.5, 2.0]


@pytest.mark.parametrize("batch", [1, 2, 5, 16])
def test_scores_come_back_in_order_whatever_the_batch(batch):
    with answering(judge) as url:
        scores = HttpReward(url, batch=batch).score(IMAGES, PROMPTS)
    assert torch.allclose(scores, IMAGES[:, 0, 0, 0], atol=1 / 255)  # pictures travel with 8 bits


def test_it_can_be_asked_while_an_event_loop_runs():
    async def ask(url: str) -> torch.Tensor:
        return HttpReward(url).score(IMAGES, PROMPTS)

    with answering(judge) as url:
        assert len(asyncio.run(ask(url))) == 5


def test_the_token_is_sent_and_not_kept(monkeypatch):
    seen = []

    async def note(request: web.Request) -> web.Response:
        seen.append(request.headers.get("Authorization"))
        return await judge(request)

    monkeypatch.setenv("JUDGE_TOKEN", "secret")
    with answering(note) as url:
        reward = HttpReward(url, token_variable="JUDGE_TOKEN")
        reward.score(IMAGES, PROMPTS)
    assert seen == ["Bearer secret"]
    assert "secret" not in repr(vars(reward))


def test_a_failure_that_passes_is_tried_again():
    tries = []

    async def recover(request: web.Request) -> web.Response:
        tries.append(1)
        return web.Response(status=500) if len(tries) < 3 else await judge(request)

    with answering(recover) as url:
        assert len(HttpReward(url, retries=2).score(IMAGES, PROMPTS)) == 5
    assert len(tries) == 3


async def slow(request: web.Request) -> web.Response:
    await asyncio.sleep(5)
    return web.Response()


async def die(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b'{"scores": [')
    request.transport.close()
    return response


def saying(text: str, status: int = 200, **headers: str):
    async def answer(request: web.Request) -> web.Response:
        return web.Response(text=text, status=status, headers=headers)

    return answer


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (slow, "within 0.3 s"),
        (die, "broke off"),
        (saying("x" * (2**20 + 1)), "more than 1 MiB"),
        (saying("<html>"), "not answer with JSON"),
        (saying("[" * 100_000), "not answer with JSON"),
        (saying('{"scores": [1, 2]}'), "2 scores for 5 pictures"),
        (saying('{"scores": [1, 2, 3, 4, NaN]}'), "finite"),
        (saying('{"scores": [1, 2, 3, 4, Infinity]}'), "finite"),
        (saying('{"scores": [1, 2, 3, 4, "5"]}'), "finite"),
        (saying('{"scores": 5}'), "must answer"),
        (saying("no", 403), "status 403"),
        (saying("no", 500), "status 500"),
        (saying("no", 400), "status 400"),
        (saying("", 302, Location="http://elsewhere.example/"), "redirects"),
    ],
)
def test_what_goes_wrong_is_said_in_a_sentence(answer, words):
    with answering(answer) as url, pytest.raises(RunError, match=words) as caught:
        HttpReward(url, timeout_seconds=0.3, retries=1).score(IMAGES, PROMPTS)
    assert "\n" not in str(caught.value)


def test_a_server_that_is_not_there_is_named():
    with answering(judge) as url:
        pass
    with pytest.raises(RunError, match="cannot be reached"):
        HttpReward(url, retries=0).score(IMAGES, PROMPTS)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"url": "ftp://host/x"}, "http://"),
        ({"url": "file:///etc/passwd"}, "http://"),
        ({"url": "http://"}, "http://"),
        ({"url": ""}, "http://"),
        ({"url": "http://name:word@host/"}, "token_variable"),
        ({"url": "http://host", "timeout_seconds": "soon"}, "timeout_seconds"),
        ({"url": "http://host", "batch": 0}, "batch"),
        ({"url": "http://host", "token_variable": "NOT_THERE_AT_ALL"}, "token_variable"),
    ],
)
def test_settings_that_cannot_be_are_refused(options, words):
    with pytest.raises(UsageError, match=words):
        HttpReward(**options)
