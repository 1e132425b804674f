"""Votes: what they are worth, that none is lost, and what cannot be a vote."""

import json

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from treegrpo.errors import RunError, UsageError
from treegrpo.rewards.human_votes import RANGES, HumanVotes, check_votes, read_votes, vote_scores
from treegrpo.rewards.registry import create
from treegrpo.rewards.reward import score

PROMPTS = ["bear"] * 3 + ["frog"] * 3


def pictures(seed=0):
    return torch.rand(6, 8, 8, 3, generator=torch.Generator().manual_seed(seed))


class Person:
    """Answers ballots from a list, until it runs out; remembers what it was shown."""

    def __init__(self, *answers):
        self.answers, self.shown = list(answers), []

    def __call__(self, ballots, minutes):
        for place, ballot in enumerate(ballots):
            self.shown.append(ballot)
            if not self.answers:
                return
            yield place, self.answers.pop(0)


@pytest.mark.parametrize(
    ("how", "votes", "scores"),
    [
        ("stars", [1, 2, 3, 4, 5, None], [-1, -0.5, 0, 0.5, 1, 0]),
        ("thumbs", [1, -1, None], [1, -1, 0]),
        ("rank", [2, 1, 3], [0, 1, -1]),
        ("rank", [None, 1, None], [-0.5, 1, -0.5]),
        ("rank", [None, None, None], [0, 0, 0]),
        ("rank", [1], [1]),
    ],
)
def test_scores_by_hand(how, votes, scores):
    assert vote_scores(how, votes, len(votes)).tolist() == scores


def test_a_skipped_prompt_has_no_scores():
    assert vote_scores("stars", None, 3).isnan().all()


@given(st.permutations(range(1, 8)), st.integers(0, 7))
@settings(deadline=None, derandomize=True)
def test_ranks_keep_their_order_and_sum_to_zero(order, placed):
    votes = [place if place <= placed else None for place in order]
    scores = vote_scores("rank", votes, 7)
    assert scores.abs().max() <= 1
    assert abs(float(scores.sum())) < 1e-5  # float32
    best_first = [float(scores[votes.index(place)]) for place in range(1, placed + 1)]
    assert best_first == sorted(best_first, reverse=True)
    assert all(float(scores[i]) <= min(best_first, default=1) for i, vote in enumerate(votes) if vote is None)


@pytest.mark.parametrize(
    ("how", "votes"),
    [
        ("stars", [1, 2]),
        ("stars", [1, 2, 3, 4]),
        ("stars", [0, 2, 3]),
        ("stars", [6, None, None]),
        ("thumbs", [0, 1, 1]),
        ("thumbs", [2, 1, 1]),
        ("rank", [1, 1, 2]),
        ("rank", [2, 3, None]),
        ("rank", [0, 1, 2]),
        ("rank", [-1, 1, 2]),
    ],
)
def test_what_is_no_vote(how, votes):
    with pytest.raises(UsageError, match="votes: "):
        check_votes(how, votes, 3)


def test_votes_are_kept_with_their_pictures_and_make_a_data_set(tmp_path):
    person = Person([5, None, 1], None)
    scores = score(HumanVotes("stars", folder=tmp_path, ask=person), pictures(), PROMPTS)
    assert scores[:3].tolist() == [1, 0, -1]
    assert scores[3:].isnan().all()
    assert [ballot.prompt for ballot in person.shown] == ["bear", "frog"]
    kept = {voted.prompt: voted for voted in read_votes(tmp_path)}
    assert kept["bear"].votes == [5, None, 1]
    assert kept["frog"].votes is None
    assert kept["bear"].pictures == person.shown[0].pictures
    assert all(picture.stat().st_size > 0 for picture in kept["bear"].pictures)


@pytest.mark.parametrize("how", RANGES)
def test_the_same_pictures_are_asked_about_once(tmp_path, how):
    person = Person([1, None, None], [None, 1, None])
    first = HumanVotes(how, folder=tmp_path, ask=person).score(pictures(), PROMPTS)
    again = HumanVotes(how, folder=tmp_path, ask=Person()).score(pictures(), PROMPTS)
    assert torch.equal(first, again)
    other = Person([1, None, None])
    HumanVotes(how, folder=tmp_path, ask=other).score(pictures(seed=1), PROMPTS)
    assert len(other.shown) == 2


def test_what_was_not_answered_in_time_is_asked_again(tmp_path):
    scores = HumanVotes("stars", folder=tmp_path, ask=Person([1, 2, 3])).score(pictures(), PROMPTS)
    assert scores.isnan().tolist() == [False] * 3 + [True] * 3
    person = Person([5, 5, 5])
    scores = HumanVotes("stars", folder=tmp_path, ask=person).score(pictures(), PROMPTS)
    assert [ballot.prompt for ballot in person.shown] == ["frog"]
    assert scores.tolist() == [-1, -0.5, 0, 1, 1, 1]


def test_a_vote_that_came_in_is_kept_when_the_next_one_fails(tmp_path):
    def interrupted(ballots, minutes):
        yield 0, [1, 2, 3]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        HumanVotes("stars", folder=tmp_path, ask=interrupted).score(pictures(), PROMPTS)
    assert [voted.prompt for voted in read_votes(tmp_path)] == ["bear"]


@pytest.mark.parametrize(
    "content", ["", "{", "[]", "{}", '{"prompt": "p", "how": "stars", "pictures": [], "votes": [9]}']
)
def test_a_damaged_vote_is_a_sentence(tmp_path, content):
    person = Person([1, 2, 3], [1, 2, 3])
    votes = HumanVotes("stars", folder=tmp_path, ask=person)
    votes.score(pictures(), PROMPTS)
    file = min(tmp_path.glob("*.json"))
    file.write_text(content)
    with pytest.raises(RunError, match="damaged"):
        votes.score(pictures(), PROMPTS)
    with pytest.raises(RunError, match="damaged"):
        read_votes(tmp_path)


def test_stored_votes_are_plain_json(tmp_path):
    HumanVotes("thumbs", folder=tmp_path, ask=Person([1, -1, None])).score(pictures(), PROMPTS)
    kept = json.loads(next(tmp_path.glob("*.json")).read_text())
    assert kept["votes"] == [1, -1, None]
    assert kept["how"] == "thumbs"
    assert all((tmp_path / picture).is_file() for picture in kept["pictures"])


def test_where_nobody_can_be_asked():
    with pytest.raises(UsageError, match="train in ComfyUI"):
        create("human_votes", how="stars")
    with pytest.raises(UsageError, match="how"):
        create("human_votes", how="shouting")
