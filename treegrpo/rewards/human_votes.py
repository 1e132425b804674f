"""Human votes: a person looks at the leaves of every prompt and says which ones they like."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path

import torch
from torch import Tensor

from ..errors import RunError, UsageError, check_known
from ..pictures.image_file import save_image
from ..run.atomic import write_text

Votes = list[int | None]
"""One per picture, None for no vote. stars: 1 to 5. thumbs: -1 or 1. rank: 1 for the best, each place once."""

RANGES = {"stars": (1, 5), "thumbs": (-1, 1), "rank": (1, 4096)}


@dataclass(frozen=True)
class Ballot:
    """The pictures of one prompt, as files, and how they are to be judged: "stars", "thumbs" or "rank"."""

    prompt: str
    how: str
    pictures: tuple[Path, ...]


Ask = Callable[[Sequence[Ballot], float], Iterator[tuple[int, Votes | None]]]
"""Shows ballots to a person and yields (index, votes) of each as it comes in; None for votes: the prompt is skipped.
Ends when all have come in, or after so many minutes (0: never)."""


class HumanVotes:
    """A person's opinion, -1 (worst) to 1 (best); 0 for a picture that they said nothing about.

    Prompts that are skipped, or not voted on in time, are left out. Every vote is kept in `folder` with its pictures,
    and the same pictures are never asked about twice: repeating an iteration that was interrupted repeats its votes.
    Raises UsageError where nobody can be asked.
    """

    name = "human_votes"
    may_leave_out = together = True

    def __init__(
        self, how: str = "stars", timeout_minutes: float = 0.0, folder: Path | None = None, ask: Ask | None = None
    ) -> None:
        check_known("how", how, RANGES)
        if folder is None or ask is None:
            raise UsageError("rewards: human_votes needs somebody to ask; train in ComfyUI, or choose another reward.")
        self.how, self.minutes, self.folder, self.ask = how, timeout_minutes, folder, ask

    def score(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """See Reward. Pictures of one prompt stand next to each other and are judged together."""
        parts = [len(list(same)) for _, same in groupby(prompts)]
        texts = [text for text, _ in groupby(prompts)]
        keys = [_key(text, self.how, part) for text, part in zip(texts, images.split(parts), strict=True)]
        scores = [_stored(self.folder / f"{key}.json") for key in keys]
        waiting = [i for i, known in enumerate(scores) if known is None]
        ballots = []
        for i in waiting:
            pictures = _save_pictures(self.folder / keys[i], images.split(parts)[i])
            ballots.append(Ballot(texts[i], self.how, pictures))
        for place, votes in self.ask(ballots, self.minutes) if ballots else ():
            i = waiting[place]
            _store(self.folder / f"{keys[i]}.json", ballots[place], votes)
            scores[i] = vote_scores(self.how, votes, parts[i])
        return torch.cat([torch.full((n,), torch.nan) if s is None else s for s, n in zip(scores, parts, strict=True)])


def vote_scores(how: str, votes: Votes | None, count: int) -> Tensor:
    """Scores float32 [count] in -1..1, NaN for a skipped prompt.

    stars: (stars - 3) / 2. thumbs: the vote. rank: from 1 for the first place evenly down to -1 for the last; pictures
    without a place share the ones that are left. Raises UsageError for votes that cannot be.
    """
    if votes is None:
        return torch.full((count,), torch.nan)
    check_votes(how, votes, count)
    if how == "stars":
        return torch.tensor([0.0 if vote is None else (vote - 3) / 2 for vote in votes])
    if how == "thumbs":
        return torch.tensor([float(vote or 0) for vote in votes])
    placed = sum(vote is not None for vote in votes)
    rest = (placed + 1 + count) / 2  # the mean of the places that are left
    places = torch.tensor([float(rest if vote is None else vote) for vote in votes])
    return 1 - 2 * (places - 1) / max(count - 1, 1)


def check_votes(how: str, votes: Votes, count: int) -> None:
    """Raise UsageError for votes that cannot be: too many or few, out of range, a place that is given twice."""
    if len(votes) != count:
        raise UsageError(f"votes: {len(votes)} were sent for {count} pictures; send one per picture, null for none.")
    given = [vote for vote in votes if vote is not None]
    low, high = RANGES[how]
    for vote in given:
        if not low <= vote <= high or (how == "thumbs" and vote == 0):
            allowed = "-1 or 1" if how == "thumbs" else f"{low} to {high if how == 'stars' else count}"
            raise UsageError(f"votes: {vote} is not a vote; {how} take {allowed}, or null.")
    if how == "rank" and sorted(given) != list(range(1, len(given) + 1)):
        raise UsageError("votes: places are counted from 1 without gaps, and each is given once.")


@dataclass(frozen=True)
class Voted:
    """One ballot of a data set: the picture files of a prompt, the votes as they were cast, and their scores."""

    prompt: str
    how: str
    pictures: tuple[Path, ...]
    votes: Votes | None
    scores: Tensor


def read_votes(folder: Path) -> list[Voted]:
    """Every ballot that `HumanVotes` has kept in a folder, oldest first. Raises RunError for a damaged file."""
    files = sorted(folder.glob("*.json"), key=lambda file: (file.stat().st_mtime_ns, file.name))
    return [_read(file) for file in files]


def _key(prompt: str, how: str, images: Tensor) -> str:
    """A name for these very pictures."""
    pixels = (images * 255).round().to(torch.uint8).cpu().contiguous()
    seen = json.dumps([prompt, how, list(pixels.shape)]).encode() + pixels.numpy().tobytes()
    return hashlib.sha256(seen).hexdigest()[:32]


def _save_pictures(folder: Path, images: Tensor) -> tuple[Path, ...]:
    files = []
    for i, pixels in enumerate(images):
        files.append(folder / f"{i:04d}.png")
        save_image(files[-1], pixels)
    return tuple(files)


def _store(file: Path, ballot: Ballot, votes: Votes | None) -> None:
    pictures = [picture.relative_to(file.parent).as_posix() for picture in ballot.pictures]
    write_text(file, json.dumps(asdict(ballot) | {"pictures": pictures, "votes": votes}) + "\n")


def _stored(file: Path) -> Tensor | None:
    return _read(file).scores if file.exists() else None


def _read(file: Path) -> Voted:
    try:
        kept = json.loads(file.read_text(encoding="utf-8"))
        pictures = tuple(file.parent / picture for picture in kept["pictures"])
        scores = vote_scores(kept["how"], kept["votes"], len(pictures))
        return Voted(kept["prompt"], kept["how"], pictures, kept["votes"], scores)
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(f'"{file}" is damaged ({error}); delete it to be asked again.') from error
