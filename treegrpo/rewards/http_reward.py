"""A reward on a server of one's own, so that a judge of any size or language runs elsewhere.

Request, POST: {"images": ["<base64 of a PNG>", ...], "prompts": ["...", ...]}, as many of one as of the other.
Answer, status 200: {"scores": [0.5, null, ...]}, one finite number per picture, in their order; larger is better, and
null is no opinion.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import nan
from typing import Any

import torch
from torch import Tensor

from ..errors import RunError
from .post import Endpoint, endpoint, png_base64, post_all, quote, whole

LARGEST = torch.finfo(torch.float32).max


class HttpReward:
    """What the server at `url` answers; its range is the server's own.

    token_variable: name of an environment variable whose value is sent as a Bearer token.
    timeout_seconds: for one try of one request. retries: further tries after a failure that may pass.
    batch: pictures per request. Raises UsageError for settings that cannot be.
    """

    name = "http"

    def __init__(
        self,
        url: str = "",
        token_variable: str = "",
        timeout_seconds: float = 60.0,
        retries: int = 2,
        batch: int = 16,
    ) -> None:
        self.server = endpoint(self.name, url, token_variable, timeout_seconds, retries)
        self.batch = whole("batch", batch, 1, 1024)

    def score(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """Scores float32 [N] for images float32 [N, H, W, 3] in 0..1. Raises RunError when the server fails."""
        starts = range(0, len(prompts), self.batch)
        parts = [list(prompts[start : start + self.batch]) for start in starts]
        answers = post_all(self.server, self._requests(images, parts))
        scores = [_scores(self.server, answer, len(part)) for answer, part in zip(answers, parts, strict=True)]
        return torch.tensor([value for part in scores for value in part], dtype=torch.float32)

    def _requests(self, images: Tensor, parts: Sequence[list[str]]) -> Iterator[dict[str, Any]]:
        for pixels, prompts in zip(images.split(self.batch), parts, strict=False):  # no prompts: one empty split
            yield {"images": [png_base64(picture) for picture in pixels], "prompts": prompts}


def _scores(server: Endpoint, answer: Any, count: int) -> list[float]:
    """The numbers in an answer, NaN for null. Raises RunError when they are not `count` that float32 can hold."""
    scores = answer.get("scores") if isinstance(answer, dict) else None
    if not isinstance(scores, list):
        raise RunError(server.failed(f'answered {quote(str(answer))}; it must answer {{"scores": [...]}}.'))
    if len(scores) != count:
        raise RunError(server.failed(f"answered with {len(scores)} scores for {count} pictures; send one each."))
    for value in scores:
        if value is None:
            continue
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not -LARGEST <= value <= LARGEST:
            raise RunError(server.failed(f"answered with a score {quote(str(value))}; send finite numbers, or null."))
    return [nan if value is None else float(value) for value in scores]
