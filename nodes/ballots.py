"""The ballot box: ballots wait here until somebody in a browser fills them in."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import comfy.model_management as management
from server import PromptServer

from ..treegrpo.rewards.human_votes import Ballot, Votes, check_votes
from .run_views import Json, Missing, picture

EVENT = "treegrpo.ballots"
GLANCE = 0.2
"""Seconds between two looks whether the user has interrupted."""


@dataclass(frozen=True)
class _Open:
    index: int
    of: int
    ballot: Ballot
    deadline: float | None


class BallotBox:
    """Ballots that are open, by id. Asked in ComfyUI's worker thread, answered in the server's."""

    def __init__(self) -> None:
        self._open: dict[str, _Open] = {}
        self._answers: dict[str, Votes | None] = {}
        self._news = threading.Condition()

    def ask(self, ballots: Sequence[Ballot], minutes: float) -> Iterator[tuple[int, Votes | None]]:
        """See human_votes.Ask. Raises ComfyUI's InterruptProcessingException when the user interrupts."""
        deadline = time.time() + 60 * minutes if minutes else None
        asked = {uuid.uuid4().hex: _Open(i, len(ballots), ballot, deadline) for i, ballot in enumerate(ballots)}
        with self._news:
            self._open |= asked
        self._tell()
        try:
            while asked and (deadline is None or time.time() < deadline):
                for id, votes in self._collected(asked):
                    yield asked.pop(id).index, votes
                management.throw_exception_if_processing_interrupted()
        finally:
            with self._news:
                for id in asked:
                    self._open.pop(id, None)
                    self._answers.pop(id, None)
            self._tell()

    def show(self) -> Json:
        """See Ballots in web/schema.json."""
        with self._news:
            waiting = list(self._open.items())
        return {"ballots": [_shown(id, item) for id, item in waiting]}

    def answer(self, id: str, votes: Votes | None) -> None:
        """Fill in a ballot. Raises Missing when it is not open (any more) and UsageError for votes that cannot be."""
        with self._news:
            if id not in self._open:
                raise Missing("This ballot is closed: it was filled in already, its time is up, or the run has ended.")
            ballot = self._open[id].ballot
            if votes is not None:
                check_votes(ballot.how, votes, len(ballot.pictures))
            del self._open[id]
            self._answers[id] = votes
            self._news.notify_all()
        self._tell()

    def _collected(self, asked: dict[str, _Open]) -> list[tuple[str, Votes | None]]:
        """The answers to some of the questions, after waiting a moment for one."""
        with self._news:
            self._news.wait_for(lambda: asked.keys() & self._answers.keys(), GLANCE)
            return [(id, self._answers.pop(id)) for id in list(asked) if id in self._answers]

    def _tell(self) -> None:
        PromptServer.instance.send_sync(EVENT, {"open": len(self._open)})


def _shown(id: str, item: _Open) -> Json:
    return {
        "id": id,
        "prompt": item.ballot.prompt,
        "how": item.ballot.how,
        "pictures": [picture(file) for file in item.ballot.pictures],
        "place": item.index + 1,
        "of": item.of,
        "deadline": item.deadline,
    }


BOX = BallotBox()
"""The one box: there is one worker and one person."""
