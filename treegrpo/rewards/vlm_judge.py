"""A vision language model as judge, on any server that speaks the OpenAI chat protocol (llama.cpp, Ollama, vLLM, …).

Request, POST {url}/chat/completions, one per picture:
{"model": "...", "temperature": 0, "messages": [{"role": "user", "content": [
  {"type": "text", "text": "<rubric>\\n\\nPrompt: <prompt>"},
  {"type": "image_url", "image_url": {"url": "data:image/png;base64,..."}}]}]}
Of a prompt that changes a picture, that picture comes before the one to judge, and the text says so.
Answer, status 200: {"choices": [{"message": {"content": "..."}}]}, where the content holds {"score": 7}, or ends with a
number such as 7, 7.5 or 7/10.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from math import nan
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import torch
from torch import Tensor

from ..errors import RunError, UsageError
from ..pictures.instruction import reference_of
from .post import Declined, checked_url, endpoint, png_base64, post_all, quote, whole

log = logging.getLogger("treegrpo")

RUBRIC = (
    "Judge this picture. How well does it show what the prompt asks for, and how well is it made? 0: it shows "
    "something else, or is spoilt. 5: it shows part of it, or has visible faults. 10: it shows all of it, without a "
    "fault. Answer with one number from 0 to 10 and nothing else."
)
BEFORE_AND_AFTER = "The first picture is what is to be changed. Judge the second, which came of it.\n\n"

NUMBER = r"-?\d+(?:[.,]\d+)?"
IN_JSON = re.compile(rf"""["']score["']\s*:\s*["']?({NUMBER})(?!\w|[.,]\d)""")
SCALE = re.compile(r"(?<![\w.])0\s*(?:-|–|to)\s*10(?!\w)")
"""The scale itself ("from 0 to 10"), which is no score."""
IN_WORDS = re.compile(rf"(?<![\w.,-])({NUMBER})(?:\s*(?:/|out of)\s*10(?:\.0)?)?(?!\w|[.,]\d)")


class VlmJudge:
    """The number from 0 to 10 that the model answers, divided by 10: 0..1. NaN where it declines, or says none.

    url: base address of the server, such as http://localhost:11434/v1. model: as the server calls it.
    rubric: what is asked; the prompt is added below it. token_variable: name of an environment variable whose value is
    sent as a Bearer token. concurrency: requests at a time. Raises UsageError for settings that cannot be.
    """

    name = "vlm_judge"

    def __init__(
        self,
        url: str = "",
        model: str = "",
        rubric: str = RUBRIC,
        token_variable: str = "",
        timeout_seconds: float = 60.0,
        concurrency: int = 4,
    ) -> None:
        self.server = endpoint(self.name, _completions(url), token_variable, timeout_seconds)
        self.concurrency = whole("concurrency", concurrency, 1, 64)
        if not model.strip() or not rubric.strip():
            raise UsageError(
                "rewards: vlm_judge needs a model and a rubric; write the name that the server gives the model, and "
                "what to judge."
            )
        self.model, self.rubric = model.strip(), rubric

    def score(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """Scores float32 [N] for images float32 [N, H, W, 3] in 0..1. Raises RunError when the server fails."""
        requests = (self._request(pixels, prompt) for pixels, prompt in zip(images, prompts, strict=True))
        answers = post_all(self.server, requests, self.concurrency, may_decline=True)
        found = [self._points(answer) for answer in answers]
        if declined := [answer for answer in found if isinstance(answer, str)]:
            log.warning("%s (%d of %d pictures)", self.server.failed(declined[0]), len(declined), len(found))
        scores = [nan if isinstance(answer, str) else answer / 10 for answer in found]
        return torch.tensor(scores, dtype=torch.float32)

    def _request(self, pixels: Tensor, prompt: str) -> dict[str, Any]:
        before = reference_of(prompt)
        text = f"{self.rubric}\n\n{'' if before is None else BEFORE_AND_AFTER}Prompt: {prompt}"
        shown = [pixels] if before is None else [before, pixels]
        images = [
            {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{png_base64(picture)}"}}
            for picture in shown
        ]
        return {
            "model": self.model,
            "temperature": 0,
            "messages": [{"role": "user", "content": [{"type": "text", "text": text}, *images]}],
        }

    def _points(self, answer: Any) -> float | str:
        """The points, 0..10, or what was answered instead. Raises RunError for what is no chat completion."""
        if isinstance(answer, Declined):
            return answer.how
        try:
            message = answer["choices"][0]["message"]
            reply = message.get("content") or message.get("refusal") or ""
        except (KeyError, IndexError, TypeError, AttributeError):
            reply = None
        if not isinstance(reply, str):
            raise RunError(
                self.server.failed(f"answered {quote(str(answer))}, which is no chat completion; correct url or model.")
            )
        points = parse_points(reply)
        return f"answered {quote(reply)}, in which there is no number from 0 to 10" if points is None else points


def parse_points(reply: str) -> float | None:
    """The points, 0..10, in what a model wrote: of the last {"score": x}, or else the last number.

    None if there are none, or they lie outside. "7/10" and "7 out of 10" are 7, "7,5" is 7.5, and a "0 to 10" that
    repeats the scale is skipped.
    """
    found = IN_JSON.findall(reply) or IN_WORDS.findall(SCALE.sub(" ", reply))
    points = float(found[-1].replace(",", ".")) if found else -1.0
    return points if 0 <= points <= 10 else None


def _completions(url: str) -> str:
    """The address of the chat protocol below a base address; a query, as some hosts want one, stays behind it."""
    parts = urlsplit(checked_url(url))
    path = parts.path.rstrip("/").removesuffix("/chat/completions")
    return urlunsplit(parts._replace(path=f"{path}/chat/completions"))
