"""Work on several real processes that are joined as ranks of one job.

The processes stay for the next job of a test session, and begin as copies of one that has imported everything, where
the system can copy processes: importing takes longer than most jobs do.
"""

from __future__ import annotations

import importlib
import multiprocessing
import os
import pickle
import socket
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

import pytest

from treegrpo.method.ranks import joined

SECONDS = 240
"""A test that hangs is ended after so long; a busy machine takes half a minute to import everything twice."""
WORKERS: list[tuple[BaseProcess, Connection]] = []
"""The processes that wait for work."""


def on_ranks(work: Callable, *arguments: Any, size: int = 2, sharded: bool = False) -> list[Any]:
    """work(ranks, *arguments) on every rank, a process each; the results by rank. What fails there fails here.

    sharded: the processes are told what accelerate tells them with FSDP.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    while len(WORKERS) < size:
        WORKERS.append(_start())
    job = pickle.dumps((size, port, sharded, _place(work), arguments))
    for rank, (_, pipe) in enumerate(WORKERS[:size]):
        pipe.send_bytes(pickle.dumps((rank, job)))
    results = []
    try:
        for rank, (_, pipe) in enumerate(WORKERS[:size]):
            assert pipe.poll(SECONDS), f"rank {rank} hangs"
            result, failure = pickle.loads(pipe.recv_bytes())
            assert failure is None, f"rank {rank}: {failure}"
            results.append(result)
    except BaseException:
        for process, _ in WORKERS:
            process.kill()
        WORKERS.clear()
        raise
    return results


def start(work: Callable, *arguments: Any) -> BaseProcess:
    """work(*arguments) in a new process, with a core for itself."""
    copied = "forkserver" in multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if copied else "spawn")
    context.set_forkserver_preload(["treegrpo.training", "treegrpo.backends.diffusers"])
    process = context.Process(target=_work, args=(_place(work), arguments), daemon=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", "1")  # threads do not survive copying
        process.start()
    return process


def _start() -> tuple[BaseProcess, Connection]:
    ours, theirs = multiprocessing.Pipe()
    process = start(_wait_for_work, theirs)
    theirs.close()
    return process, ours


def _place(work: Callable) -> tuple[str, str]:
    """Where a new process finds a function; pytest puts the name of the repository's folder before that of a module."""
    return work.__module__[work.__module__.index("tests.") :], work.__name__


def _found(place: tuple[str, str]) -> Callable:
    module, name = place
    return getattr(importlib.import_module(module), name)


def _work(place: tuple[str, str], arguments: tuple) -> None:
    _found(place)(*arguments)


def _wait_for_work(pipe: Connection) -> None:
    """Do one job after another until one fails, which may leave this process half joined."""
    failure = None
    while failure is None:
        rank, job = pickle.loads(pipe.recv_bytes())
        size, port, sharded, place, arguments = pickle.loads(job)
        os.environ.update(RANK=str(rank), WORLD_SIZE=str(size), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
        os.environ["ACCELERATE_USE_FSDP"] = str(sharded).lower()
        try:
            work = _found(place)
            with joined() as ranks:
                result = work(ranks, *arguments)
        except BaseException:
            result, failure = None, traceback.format_exc()
        pipe.send_bytes(pickle.dumps((result, failure)))  # as bytes: tensors would be lent
