"""Work on several real processes that are joined as ranks of one job."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import pickle
import socket
import traceback
from collections.abc import Callable
from typing import Any

import torch

from treegrpo.method.ranks import joined

SECONDS = 240
"""A test that hangs is ended after so long; a busy machine takes half a minute to import everything twice."""


def on_ranks(work: Callable, *arguments: Any, size: int = 2, sharded: bool = False) -> list[Any]:
    """work(ranks, *arguments) on every rank, a process each; the results by rank. What fails there fails here.

    sharded: the processes are started as accelerate starts them with FSDP.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    processes = [
        context.Process(target=_work, args=(rank, size, port, sharded, _place(work), arguments, answers), daemon=True)
        for rank in range(size)
    ]
    for process in processes:
        process.start()
    try:
        results = dict(pickle.loads(answers.get(timeout=SECONDS)) for _ in processes)
        for process in processes:
            process.join(SECONDS)
    finally:
        for process in processes:
            process.kill()
    for rank, (result, failure) in sorted(results.items()):
        assert failure is None, f"rank {rank}: {failure}"
        results[rank] = result
    return [results[rank] for rank in range(size)]


def _place(work: Callable) -> tuple[str, str]:
    """Where a new process finds a function; pytest puts the name of the repository's folder before that of a module."""
    return work.__module__[work.__module__.index("tests.") :], work.__name__


def _work(
    rank: int, size: int, port: int, sharded: bool, place: tuple[str, str], arguments: tuple, answers: Any
) -> None:
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(size), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    os.environ["ACCELERATE_USE_FSDP"] = str(sharded).lower()
    torch.set_num_threads(1)
    module, name = place
    try:
        work = getattr(importlib.import_module(module), name)
        with joined() as ranks:
            result, failure = work(ranks, *arguments), None
    except BaseException:
        result, failure = None, traceback.format_exc()
    answers.put(pickle.dumps((rank, (result, failure))))  # as bytes: tensors would be lent, and this process ends now
