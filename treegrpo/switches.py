"""Ways of working that compute the same in more or less time and memory, each behind one switch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from typing import Any

from .backends.diffusers import DiffusersPolicy
from .timing import Bench, Entry
from .variants import changed


def switches(bench: Bench) -> list[Entry]:
    """What is timed: the run as it comes first, then every switch that the policy has, put the other way."""
    base = bench.config
    alone = changed(base, "train", reuse_graphs=False)
    overlapping = changed(base, "train", overlap_scoring=True)
    entries = [
        bench.entry("as it comes", base),
        bench.entry("graphs of the rollout are not reused", alone),
        bench.entry("scoring while decoding", overlapping),
        bench.entry("prompts encoded anew in every iteration", base, switch=_forgetting),
        bench.entry("gradient checkpointing", base, switch=_checkpointing),
    ]
    if bench.policy.guidance != 1 and not bench.policy.family.DISTILLED:
        entries.append(bench.entry("guidance in two calls", base, switch=_two_calls))
        entries.append(bench.entry("trained without guidance", base, switch=_unguided, same=False))
    return entries


@contextmanager
def compiled(policy: DiffusersPolicy) -> Iterator[None]:
    """A context in which the blocks of the network are compiled."""
    policy.compile_blocks()
    try:
        with _economy(policy, compile=True):
            yield
    finally:
        policy.compile_blocks(policy.economy.compile)


@contextmanager
def _economy(policy: DiffusersPolicy, **changes: Any) -> Iterator[None]:
    before = policy.economy
    policy.economy = replace(before, **changes)
    try:
        yield
    finally:
        policy.economy = before


def _two_calls(policy: DiffusersPolicy) -> AbstractContextManager[None]:
    return _economy(policy, fused_guidance=False)


@contextmanager
def _unguided(policy: DiffusersPolicy) -> Iterator[None]:
    guidance = policy.guidance
    policy.guidance = 1.0
    try:
        yield
    finally:
        policy.guidance = guidance


def _forgetting(policy: DiffusersPolicy) -> AbstractContextManager[None]:
    return policy.without_embeddings()


@contextmanager
def _checkpointing(policy: DiffusersPolicy) -> Iterator[None]:
    policy.network.enable_gradient_checkpointing()
    try:
        yield
    finally:
        if not policy.economy.gradient_checkpointing:
            policy.network.disable_gradient_checkpointing()
