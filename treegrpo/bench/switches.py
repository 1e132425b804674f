"""Ways of working that compute the same in more or less time and memory, each behind one switch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Any

from ..backends.diffusers import DiffusersPolicy
from ..backends.temporarily import temporarily
from .timing import Bench, Timed
from .variants import changed


def switches(bench: Bench) -> list[Timed]:
    """What is timed: the run as it comes first, then every switch that it does not have already, put the other way."""
    base, economy = bench.config, bench.policy.economy
    several = [
        bench.timed("as it comes", base),
        bench.timed("prompts encoded anew in every iteration", base, switch=_forgetting),
    ]
    if base.train.reuse_graphs:
        several.append(bench.timed("graphs of the rollout are not reused", changed(base, "train", reuse_graphs=False)))
    if not base.train.overlap_scoring:
        several.append(bench.timed("scoring while decoding", changed(base, "train", overlap_scoring=True)))
    if not economy.gradient_checkpointing:
        several.append(bench.timed("gradient checkpointing", base, switch=_checkpointing))
    if bench.policy.guidance != 1 and not bench.policy.family.DISTILLED:
        if economy.fused_guidance:
            several.append(bench.timed("guidance in two calls", base, switch=_two_calls))
        several.append(bench.timed("trained without guidance", base, switch=_unguided, same=False))
    return several


@contextmanager
def compiled(policy: DiffusersPolicy) -> Iterator[None]:
    """A context in which the blocks of the network are compiled."""
    policy.compile_blocks()
    try:
        with _economy(policy, compile=True):
            yield
    finally:
        policy.compile_blocks(False)


def _economy(policy: DiffusersPolicy, **changes: Any) -> AbstractContextManager[None]:
    return temporarily(policy, economy=replace(policy.economy, **changes))


def _two_calls(policy: DiffusersPolicy) -> AbstractContextManager[None]:
    return _economy(policy, fused_guidance=False)


def _unguided(policy: DiffusersPolicy) -> AbstractContextManager[None]:
    return temporarily(policy, guidance=1.0)


def _forgetting(policy: DiffusersPolicy) -> AbstractContextManager[None]:
    return policy.without_embeddings()


@contextmanager
def _checkpointing(policy: DiffusersPolicy) -> Iterator[None]:
    policy.network.enable_gradient_checkpointing()
    try:
        yield
    finally:
        policy.network.disable_gradient_checkpointing()
