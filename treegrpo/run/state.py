"""What a run must remember between iterations, and how it is stored."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field

import torch
from torch import Tensor

from ..method.policy import Policy
from .folder import RunFolder
from .judged import Judged

State = dict[str, Tensor]


@dataclass(frozen=True)
class Origin:
    """What decides a run's steps beside its config: digests of its prompts and held-out prompts, and how many processes
    share it. Runs of versions that did not note it have none."""

    prompts: str
    heldout: str
    processes: int


@dataclass
class RunState:
    """iteration: the next one to run. adapter: its weights, empty while they are fresh. optimizer: its moments.

    average: the adapter's moving average, if one is kept. judged: what the evaluations so far come to. origin: of
    the steps so far.
    """

    iteration: int = 0
    adapter: State = field(default_factory=dict)
    average: State = field(default_factory=dict)
    optimizer: State = field(default_factory=dict)
    judged: Judged = field(default_factory=Judged)
    origin: Origin | None = None

    @classmethod
    def read(cls, folder: RunFolder) -> RunState:
        """Where the run in `folder` stopped; a fresh state when there is none."""
        stored = folder.load_state()
        if stored is None:
            return cls()
        tensors, facts = stored
        adapter, average, optimizer = (_under(name, tensors) for name in ("adapter", "average", "optimizer"))
        iteration, noted = facts.pop("iteration"), facts.pop("origin", None)
        origin = Origin(**noted) if noted else None
        return cls(iteration, adapter, average, optimizer, Judged(**facts), origin)

    def write(self, folder: RunFolder) -> None:
        """Write everything that `read` needs; after this the iterations so far cannot be lost."""
        tensors = {
            **_prefixed("adapter", self.adapter),
            **_prefixed("average", self.average),
            **_prefixed("optimizer", self.optimizer),
        }
        origin = asdict(self.origin) if self.origin else None
        folder.save_state(tensors, {"iteration": self.iteration, "origin": origin, **asdict(self.judged)})

    def put_into(self, policy: Policy, optimizer: torch.optim.Optimizer | None = None) -> None:
        """Give the policy the weights of this state, and the optimiser, if any, its moments (none, if it has none)."""
        if self.adapter:
            policy.load_adapter_state(self.adapter)
        if optimizer is not None:
            _restore_optimizer(optimizer, self.optimizer)

    def take_from(self, policy: Policy, optimizer: torch.optim.Optimizer) -> None:
        """Make this state that of policy and optimiser."""
        self.adapter, self.optimizer = policy.adapter_state(), _optimizer_state(optimizer)

    def update_average(self, policy: Policy, decay: float) -> None:
        """average <- decay * average + (1 - decay) * adapter; the first call copies the adapter."""
        current = policy.adapter_state()
        if not self.average:
            self.average = current
        self.average = {name: torch.lerp(weight, self.average[name], decay) for name, weight in current.items()}

    def result(self, policy: Policy) -> State:
        """The adapter that the run is about: the average when one is kept."""
        return self.average or policy.adapter_state()

    @contextmanager
    def result_loaded(self, policy: Policy) -> Iterator[None]:
        """A context in which the policy holds `result`."""
        if not self.average:
            yield
            return
        current = policy.adapter_state()
        policy.load_adapter_state(self.average)
        try:
            yield
        finally:
            policy.load_adapter_state(current)


def _optimizer_state(optimizer: torch.optim.Optimizer) -> State:
    state = optimizer.state_dict()["state"]
    return {f"{i}.{name}": value.cpu().clone() for i, values in state.items() for name, value in values.items()}


def _restore_optimizer(optimizer: torch.optim.Optimizer, stored: State) -> None:
    state: dict[int, State] = {}
    for key, value in stored.items():
        place, name = key.split(".", 1)
        state.setdefault(int(place), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _prefixed(prefix: str, state: State) -> State:
    return {f"{prefix}.{name}": value for name, value in state.items()}


def _under(prefix: str, state: State) -> State:
    start = f"{prefix}."
    return {name.removeprefix(start): value for name, value in state.items() if name.startswith(start)}
