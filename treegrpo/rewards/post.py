"""Pictures and JSON to a server and JSON back, with every way to fail said in a sentence.

Requests go to the host that the user typed and to no other: redirects are refused, and so are proxies of the
environment. An answer is read up to a limit and never decompressed, so that a server cannot fill the memory.
"""

from __future__ import annotations

import asyncio
import json
import math
import os
import re
from base64 import b64encode
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import torch
from PIL import Image
from torch import Tensor

from ..errors import RunError, UsageError

if TYPE_CHECKING:
    import aiohttp

ANSWER_LIMIT = 2**20
"""Bytes of an answer: 50,000 scores fit, and a wrong address that serves a film does no harm."""

BACKOFF = 0.5
"""Seconds before the first repetition; twice as many before each further one."""

CONTENT = (400, 413, 422, 451)
"""Statuses that say no to what a request holds, as filters of content do, and not to where it goes or who asks."""

QUOTED = 80
"""Characters of an answer that a sentence quotes."""


@dataclass(frozen=True)
class Endpoint:
    """Where a reward posts to. token_variable: "" for none; the token is read when it is sent, and kept nowhere."""

    reward: str
    url: str
    token_variable: str
    timeout_seconds: float
    retries: int

    def failed(self, what: str) -> str:
        """A sentence about this server; a query string, which may hold a key, is left out."""
        return f'reward "{self.reward}": {self.url.partition("?")[0]} {what}'


def endpoint(
    reward: str, url: str, token_variable: str = "", timeout_seconds: float | str = 60.0, retries: int | str = 2
) -> Endpoint:
    """Checked settings. Raises UsageError for each that cannot be, and where aiohttp is not installed."""
    try:
        import aiohttp  # noqa: F401
    except ImportError:
        raise UsageError(f"rewards: {reward} needs aiohttp; pip install aiohttp.") from None
    if token_variable and not _token(token_variable):
        # Not quoted: what was typed may be the token.
        raise UsageError(
            "rewards.token_variable: no environment variable of this name holds a token of plain characters; give the "
            "name of one that does, never the token itself."
        )
    return Endpoint(
        reward,
        checked_url(url),
        token_variable,
        number("timeout_seconds", timeout_seconds, 0.1, 3600),
        whole("retries", retries, 0, 10),
    )


def checked_url(url: str) -> str:
    """The address without surrounding blanks and fragment. Raises UsageError unless it is http(s) with a host."""
    url = str(url).strip().partition("#")[0]
    try:
        parts = urlsplit(url)
        fine = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        fine = False
    if not fine or re.search(r"\s", url):
        raise UsageError(f'rewards.url: "{url}" is no address; write for example http://localhost:8000/score.')
    if "@" in parts.netloc:
        raise UsageError(
            "rewards.url: a name or password in the address would be saved with the workflow; leave it out and use "
            "token_variable."
        )
    return url


def number(name: str, value: float | str, low: float, high: float) -> float:
    """An option as a number; the command line passes strings. Raises UsageError outside low..high."""
    try:
        result = float(value)
    except (TypeError, ValueError):
        result = math.nan
    if not low <= result <= high:
        raise UsageError(f'rewards.{name}: "{value}" is not a number from {low} to {high}.')
    return result


def whole(name: str, value: float | str, low: int, high: int) -> int:
    """An option as a whole number. Raises UsageError outside low..high."""
    result = number(name, value, low, high)
    if result != int(result):
        raise UsageError(f'rewards.{name}: "{value}" is not a whole number from {low} to {high}.')
    return int(result)


def png_base64(pixels: Tensor) -> str:
    """A picture float32 [H, W, 3] in 0..1 as base64 of an 8-bit PNG, packed fast rather than small."""
    file = BytesIO()
    levels = (pixels.clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()
    Image.fromarray(levels).save(file, format="PNG", compress_level=1)
    return b64encode(file.getvalue()).decode("ascii")


def quote(text: str) -> str:
    """The start of what a server said, on one line and in quotes."""
    line = " ".join(text.split())
    return f'"{line[:QUOTED]}"' if len(line) <= QUOTED else f'"{line[: QUOTED - 1]}…"'


@dataclass(frozen=True)
class Declined:
    """In place of an answer: how the server declined this very document."""

    how: str


def post_all(
    server: Endpoint, documents: Iterable[object], concurrency: int = 1, *, may_decline: bool = False
) -> list[Any]:
    """The JSON answers to JSON documents, in their order; `concurrency` requests at a time, each document made when
    its turn comes.

    may_decline: a document may be refused for what it holds, and is then answered by Declined. Raises RunError, one
    sentence, for the first that fails otherwise.
    """
    work = _post_all(server, documents, concurrency, may_decline)
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(work)
    with ThreadPoolExecutor(1) as thread:  # a thread has one loop at most, and this one's is running
        return thread.submit(asyncio.run, work).result()


async def _post_all(server: Endpoint, documents: Iterable[object], concurrency: int, may_decline: bool) -> list[Any]:
    import aiohttp

    headers = {"Content-Type": "application/json", "Accept": "application/json", "Accept-Encoding": "identity"}
    if server.token_variable:
        headers["Authorization"] = f"Bearer {_token(server.token_variable)}"
    answers: dict[int, Any] = {}
    waiting = enumerate(documents)

    async def work() -> None:
        for place, document in waiting:  # shared: whoever is free takes the next one
            try:
                answers[place] = await _post(session, server, json.dumps(document).encode())
            except _Refused as error:
                if not may_decline:
                    raise
                answers[place] = Declined(error.how)

    timeout = aiohttp.ClientTimeout(total=server.timeout_seconds)
    async with aiohttp.ClientSession(headers=headers, timeout=timeout, auto_decompress=False) as session:
        await asyncio.gather(*(work() for _ in range(concurrency)))
    return [answers[place] for place in range(len(answers))]


class _MayPass(RunError):
    """A failure that another try may mend."""


class _Refused(RunError):
    """The server does not take what was sent."""

    def __init__(self, sentence: str, how: str) -> None:
        super().__init__(sentence)
        self.how = how


async def _post(session: aiohttp.ClientSession, server: Endpoint, body: bytes) -> Any:
    for attempt in range(server.retries):
        try:
            return await _post_once(session, server, body)
        except _MayPass:
            await asyncio.sleep(BACKOFF * 2**attempt)
    return await _post_once(session, server, body)


async def _post_once(session: aiohttp.ClientSession, server: Endpoint, body: bytes) -> Any:
    import aiohttp

    try:
        # As a file: aiohttp sends it in parts, so that the other requests are served in between.
        async with session.post(server.url, data=BytesIO(body), allow_redirects=False) as response:
            if 300 <= response.status < 400:
                raise RunError(
                    server.failed(
                        f"redirects to {quote(response.headers.get('Location', ''))}, and redirects are not followed; "
                        "type the final address in url."
                    )
                )
            answer = await _read(response, server)
    except asyncio.TimeoutError:
        raise _MayPass(
            server.failed(
                f"did not answer within {server.timeout_seconds:g} s; raise timeout_seconds or send less at once."
            )
        ) from None
    except aiohttp.ClientConnectorError as error:
        raise _MayPass(
            server.failed(f"cannot be reached ({_line(error)}); start the server or correct url.")
        ) from error
    except (aiohttp.ClientError, OSError) as error:
        raise _MayPass(server.failed(f"broke off its answer ({_line(error)}); look at the server's log.")) from error
    if response.status != 200:
        how = f"answered with status {response.status}: {quote(answer.decode(errors='replace'))}"
        sentence = server.failed(f"{how}; check url and token_variable, and look at the server's log.")
        if response.status in CONTENT:
            raise _Refused(sentence, how)
        raise (_MayPass if response.status >= 500 or response.status == 429 else RunError)(sentence)
    try:
        return json.loads(answer)
    except (ValueError, RecursionError):
        raise RunError(
            server.failed(f"did not answer with JSON but with {quote(answer.decode(errors='replace'))}; correct url.")
        ) from None


async def _read(response: aiohttp.ClientResponse, server: Endpoint) -> bytes:
    answer = bytearray()
    async for part in response.content.iter_any():
        answer += part
        if len(answer) > ANSWER_LIMIT:
            raise RunError(server.failed(f"answered with more than {ANSWER_LIMIT // 2**20} MiB; correct url."))
    return bytes(answer)


def _token(variable: str) -> str:
    """The token in an environment variable; "" where there is none that could be sent as a header."""
    token = os.environ.get(variable, "").strip() if "=" not in variable and "\0" not in variable else ""
    return token if token.isascii() and token.isprintable() else ""


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
