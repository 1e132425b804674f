"""Ranks: shares, what they tell each other, and errors that none of them waits out."""

import pytest
import torch

from tests.on_ranks import on_ranks
from treegrpo.errors import RunError, UsageError
from treegrpo.method.ranks import ALONE, Ranks


@pytest.mark.parametrize(("count", "size"), [(1, 1), (8, 2), (5, 3), (7, 7), (100, 64)])
def test_shares_make_up_all_prompts_and_differ_by_one_at_most(count, size):
    shares = [range(count)[Ranks(rank, size).share(count)] for rank in range(size)]
    assert [prompt for share in shares for prompt in share] == list(range(count))
    assert {len(share) for share in shares} <= {count // size, -(-count // size)}


def test_fewer_prompts_than_ranks_are_refused():
    with pytest.raises(UsageError, match=r"prompts_per_iteration: 2 prompts cannot be shared by 3 processes"):
        Ranks(0, 3).share(2)


def test_a_single_process_tells_nobody(monkeypatch):
    for name in ("all_gather_object", "broadcast_object_list", "all_reduce"):
        monkeypatch.delattr(torch.distributed, name)
    tensor = torch.ones(3)
    ALONE.add_up([tensor])
    assert (ALONE.gather(1), ALONE.from_first(2), tensor.tolist()) == ([1], 2, [1.0] * 3)
    error = ValueError("as it came")
    with pytest.raises(ValueError, match="as it came") as caught, ALONE.together():
        raise error
    assert caught.value is error


def talk(ranks):
    """Everything that ranks say to each other, and what they hear of each other's errors."""
    tensors = [torch.tensor([1.0, 10.0]) * (ranks.rank + 1), torch.full((2, 2), 0.5 + ranks.rank)]
    ranks.add_up(tensors)
    heard = []
    failures = (
        {1: UsageError("wrong there")},
        {0: RunError("disk"), 1: UsageError("later")},
        {1: torch.OutOfMemoryError("full")},
        {0: KeyError("a bug")},
        {},
    )
    for failing in failures:
        try:
            with ranks.together():
                if ranks.rank in failing:
                    raise failing[ranks.rank]
            heard.append(None)
        except Exception as error:
            heard.append((type(error).__name__, str(error)))
    return ranks.gather(ranks.rank * 10), ranks.from_first(f"rank {ranks.rank}"), tensors, heard


def test_ranks_hear_each_other_and_fail_together():
    answers = on_ranks(talk)
    for numbers, first, tensors, heard in answers:
        assert (numbers, first) == ([0, 10], "rank 0")
        assert [tensor.flatten().tolist() for tensor in tensors] == [[3.0, 30.0], [2.0] * 4]
        assert heard[:3] == [("UsageError", "wrong there"), ("RunError", "disk"), ("OutOfMemoryError", "full")]
        assert heard[4] is None
    assert [heard[3] for *_, heard in answers] == [("KeyError", "'a bug'"), ("RuntimeError", "KeyError: 'a bug'")]


@pytest.mark.parametrize(
    ("error", "kind", "sentence"),
    [
        (RuntimeError("[gloo/transport/tcp/pair.cc] Connection reset by peer"), RunError, "another rank is gone"),
        (torch.distributed.DistBackendError("NCCL"), RunError, "another rank is gone"),
        (RuntimeError("shapes do not match"), RuntimeError, "shapes do not match"),
        (UsageError("wrong here"), UsageError, "wrong here"),
        (RunError('"runs/igloo/state.safetensors" could not be written'), RunError, "could not be written"),
    ],
)
def test_a_rank_that_shares_a_network_leaves_with_its_own_error_and_waits_for_nobody(error, kind, sentence):
    with pytest.raises(kind, match=sentence), Ranks(0, 2, sharded=True).together():
        raise error


def test_ranks_that_share_a_network_need_equal_shares():
    assert Ranks(1, 2, sharded=True).share(4) == slice(2, 4)
    with pytest.raises(UsageError, match=r"prompts_per_iteration: 2 processes .* 3 prompts .* multiple of 2"):
        Ranks(0, 2, sharded=True).share(3)
