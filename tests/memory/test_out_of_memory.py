"""A device that fills up, told by a policy that refuses large batches, and a real allocation that cannot be had."""

import logging
from contextlib import nullcontext

import pytest
import torch

from tests.on_ranks import on_ranks
from tests.small_runs import SIDE, open_policy, small_config
from treegrpo.memory.out_of_memory import halved, in_smaller_batches, is_out_of_memory
from treegrpo.method.grow import BatchSizes
from treegrpo.method.ranks import ALONE
from treegrpo.rewards.registry import create
from treegrpo.run.folder import RunFolder
from treegrpo.training.trainer import train

REWARDS = [(create("jpeg_compressibility"), 1.0)]
PROMPTS = ["bear", "frog", "bell"]


def run(folder, sizes, limit=None, after=0, ranks=ALONE):
    """(adapter after three iterations of two passes, reports); from call `after` on, more than `limit` rows fail."""
    policy = open_policy(rank=2, height=SIDE, width=SIDE)
    calls = 0
    denoise = policy.denoise

    def limited(x, sigma, prompts, *step):
        nonlocal calls
        calls += 1
        if limit and calls > after and len(x) > limit:
            raise torch.OutOfMemoryError("the device is full")
        return denoise(x, sigma, prompts, *step)

    policy.denoise = limited
    config = small_config(folder, iterations=3, trees_every=0)
    config = config.model_copy(update={"update": config.update.model_copy(update={"updates_per_rollout": 2})})
    with RunFolder(folder / "run") if ranks.first else nullcontext() as run_folder:
        reports = list(train(policy, REWARDS, config, run_folder, PROMPTS, sizes=sizes, ranks=ranks))
    return policy.adapter_state(), reports


@pytest.fixture(scope="module")
def in_small_batches(tmp_path_factory):
    """The adapter of a run whose batches are small from the start."""
    return run(tmp_path_factory.mktemp("small"), BatchSizes(2, 2, 2))[0]


def halvings(caplog):
    """What was said of memory."""
    said = (record.getMessage() for record in caplog.records)
    return [sentence for sentence in said if sentence.startswith("out of memory")]


# The calls of one iteration with batches of 8: four levels to grow, then two trained levels for each of two passes. So
# it fails while the trees grow, and in either pass.
@pytest.mark.parametrize("after", [0, pytest.param(5, marks=pytest.mark.long), 7])
def test_a_run_that_was_halved_equals_one_that_started_so(tmp_path, caplog, in_small_batches, after):
    with caplog.at_level(logging.WARNING, "treegrpo"):
        state, reports = run(tmp_path, BatchSizes(64, 8, 8), limit=3, after=after)
    assert [report.iteration for report in reports] == [0, 1, 2]
    assert [report.ratio_error[0] for report in reports] == [0.0] * 3
    sentences = halvings(caplog)
    assert sentences == [f"out of memory: starting again with {n} pictures at a time." for n in (4, 2)]
    for name, weight in in_small_batches.items():
        assert torch.equal(state[name], weight), name


def run_where_one_is_full(ranks, folder, after):
    """The first has room for all; the second has less than it thinks, and starts with smaller batches."""
    sizes, limit = (BatchSizes(64, 64, 8), None) if ranks.first else (BatchSizes(32, 4, 8), 1)
    return run(folder, sizes, limit, after, ranks)


def test_a_rank_that_runs_out_of_memory_takes_all_with_it(tmp_path):
    (tmp_path / "small").mkdir()
    (tmp_path / "halved").mkdir()
    (state, reports), (others_state, others_reports) = on_ranks(run_where_one_is_full, tmp_path / "halved", 5)
    expected, _ = on_ranks(run_small, tmp_path / "small")[0]
    assert reports == others_reports
    assert [report.iteration for report in reports] == [0, 1, 2]
    assert [report.ratio_error[0] for report in reports] == [0.0] * 3
    for name, weight in expected.items():
        assert torch.equal(state[name], weight), name
        assert torch.equal(others_state[name], weight), name


def run_small(ranks, folder):
    return run(folder, BatchSizes(1, 1, 1), ranks=ranks)


def test_rows_that_never_fit_raise_the_error_of_the_device(tmp_path):
    with pytest.raises(torch.OutOfMemoryError, match="the device is full"):
        run(tmp_path, BatchSizes(4, 4, 4), limit=0.5)


def test_other_errors_are_not_tried_again():
    calls = []

    def attempt(sizes):
        calls.append(sizes)
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        in_smaller_batches(attempt, lambda: None, BatchSizes(8, 8, 8), 8)
    assert len(calls) == 1


def test_nothing_is_tried_again_where_others_work_along():
    calls = []

    def attempt(sizes):
        calls.append(sizes)
        raise torch.OutOfMemoryError("the device is full")

    with pytest.raises(torch.OutOfMemoryError):
        in_smaller_batches(attempt, lambda: None, BatchSizes(8, 8, 8), 8, once=True)
    assert len(calls) == 1


def test_the_allocator_of_the_cpu_is_understood():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**62, dtype=torch.uint8)
    assert is_out_of_memory(caught.value)


def test_halving_starts_at_what_is_there_and_ends_at_single_pictures():
    assert halved(BatchSizes(1000, 1000, 8, 500), 12) == BatchSizes(6, 6, 4, 6)
    assert halved(BatchSizes(1, 1, 1, 1), 12) == BatchSizes(1, 1, 1, 0)
    assert halved(BatchSizes(1, 1, 1, 0), 12) == BatchSizes(1, 1, 1, 0)


@pytest.mark.parametrize(
    "saying",
    [
        "CUDA error: out of memory",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "MPS backend out of memory (MPS allocated: 8.00 GB, other allocations: 1.00 GB, max allowed: 9.07 GB)",
    ],
)
def test_kernels_that_find_no_memory_are_understood(saying):
    assert is_out_of_memory(RuntimeError(saying))
    assert not is_out_of_memory(RuntimeError("CUDA error: device-side assert triggered"))


def test_an_evaluation_that_does_not_fit_goes_on_in_smaller_batches(tmp_path, caplog):
    policy = open_policy(rank=2)
    denoise = policy.denoise

    def limited(x, sigma, prompts, *step):
        if len(x) > 4:
            raise torch.OutOfMemoryError("the device is full")
        return denoise(x, sigma, prompts, *step)

    policy.denoise = limited
    config = small_config(tmp_path, iterations=1, trees_every=0)
    few = config.train.model_copy(update={"prompts_per_iteration": 1})  # four leaves: training fits
    often = config.evaluation.model_copy(update={"every": 1})
    config = config.model_copy(update={"train": few, "evaluation": often})
    with caplog.at_level(logging.WARNING, "treegrpo"), RunFolder(tmp_path / "run") as folder:
        [report] = train(policy, REWARDS, config, folder, PROMPTS, PROMPTS, sizes=BatchSizes(64, 4, 8))
    assert report.heldout is not None
    assert halvings(caplog) == [f"out of memory: starting again with {n} pictures at a time." for n in (6, 3)]
