"""What the widget asks the server, under /treegrpo. Everything but a vote only reads; runs are named, never paths."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web
from server import PromptServer

from ..treegrpo.errors import UsageError
from . import run_views
from .ballots import BOX
from .run_views import Damaged, Json, Missing

routes = PromptServer.instance.routes
MOST_BYTES = 2**16
"""Of a vote; 4096 pictures take less than half."""


@routes.get("/treegrpo/runs")
async def get_runs(_: web.Request) -> web.Response:
    """See Runs in web/schema.json."""
    return await _answer(run_views.runs)


@routes.get("/treegrpo/runs/{run}")
async def get_run(request: web.Request) -> web.Response:
    """See Run in web/schema.json."""
    return await _answer(run_views.run, request.match_info["run"])


@routes.get("/treegrpo/runs/{run}/trees/{tree}")
async def get_tree(request: web.Request) -> web.Response:
    """See Tree in web/schema.json."""
    return await _answer(run_views.tree, request.match_info["run"], request.match_info["tree"])


@routes.get("/treegrpo/runs/{run}/workflow")
async def get_workflow(request: web.Request) -> web.Response:
    """The workflow that a run was started from, as ComfyUI saves it."""
    return await _answer(run_views.workflow, request.match_info["run"])


@routes.get("/treegrpo/ballots")
async def get_ballots(_: web.Request) -> web.Response:
    """See Ballots in web/schema.json."""
    return await _answer(BOX.show)


@routes.post("/treegrpo/ballots/{ballot}")
async def post_vote(request: web.Request) -> web.Response:
    """See Vote in web/schema.json."""
    if _is_foreign(request):
        return _problem(403, "Votes are taken from ComfyUI's own page only.")
    if request.content_type != "application/json":  # what a foreign page cannot send without asking first
        return _problem(415, "Send the vote as application/json.")
    try:
        await request.content.readexactly(MOST_BYTES + 1)
        return _problem(413, f"A vote takes at most {MOST_BYTES} bytes.")
    except asyncio.IncompleteReadError as end:
        body = end.partial
    try:
        votes = _votes(json.loads(body))
    except (ValueError, RecursionError):  # the latter for thousands of brackets
        return _problem(400, 'A vote is {"votes": [...]} with whole numbers or null, or {"votes": null} to skip.')
    return await _answer(BOX.answer, request.match_info["ballot"], votes)


async def _answer(make: Callable[..., Json | None], *arguments: Any) -> web.Response:
    """What a function returns, made in a thread since it reads files; its complaints as Problem."""
    try:
        return web.json_response(await asyncio.to_thread(make, *arguments) or {})
    except UsageError as error:
        return _problem(400, str(error))
    except Missing as error:
        return _problem(404, str(error))
    except (Damaged, OSError) as error:
        return _problem(500, str(error))


def _problem(status: int, sentence: str) -> web.Response:
    return web.json_response({"error": sentence}, status=status)


def _is_foreign(request: web.Request) -> bool:
    """Whether a page of another site sent this. (ComfyUI itself asks only when it is served on localhost.)"""
    origin = request.headers.get("Origin")
    return origin is not None and urlsplit(origin).netloc.lower() != request.host.lower()


def _votes(body: Any) -> list[int | None] | None:
    """The votes of a body. Raises ValueError when it has another form than Vote."""
    if not isinstance(body, dict) or body.keys() != {"votes"}:
        raise ValueError
    votes = body["votes"]
    if votes is None:
        return None
    if not isinstance(votes, list) or not all(vote is None or type(vote) is int for vote in votes):
        raise ValueError
    return votes
