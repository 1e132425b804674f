"""What one iteration did, as a line of metrics.jsonl."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import isnan

from torch import Tensor

from ..method.advantage import correlation, zero_spread
from ..method.opinions import spreads, unjudged
from .outcome import Outcome

PACE = ("learning_rate", "kl", "clip_range", "max_grad_norm")
"""Settings of the update that a run may change on its way."""


@dataclass(frozen=True)
class Report:
    """The fields are the columns of metrics.jsonl.

    window: the trained steps. reward: mean of each reward over all leaves. spread: mean over prompts of the standard
    deviation of each reward within the tree; null for both where a reward had no opinion on any leaf. correlation: of
    every pair of rewards within the trees, see advantage.correlation. unjudged: leaves that taught nothing, since a
    reward had no opinion on them. zero_spread: prompts that taught nothing, since their judged leaves got the same.
    Lists have one entry per optimiser step, see update.UpdateStatistics. seconds: grow, decode, score, update,
    evaluate, save. heldout: mean held-out reward, on the iterations that evaluate. watched: the held-out means of the
    rewards that are only watched, null where a reward had no opinion on any picture; empty on the other iterations.
    pace: the settings of PACE.
    """

    iteration: int
    window: list[int]
    reward: dict[str, float | None]
    spread: dict[str, float | None]
    correlation: dict[str, float | None]
    unjudged: int
    zero_spread: int
    leaves: int
    evaluations: int
    loss: list[float]
    kl: list[float]
    ratio_error: list[float]
    clip_fraction: list[float]
    grad_norm: list[float | None]
    skipped: list[str]
    seconds: dict[str, float]
    heldout: float | None
    watched: dict[str, float | None]
    pace: dict[str, float]


def report_of(
    outcome: Outcome,
    heldout: float | None,
    watched: Mapping[str, float | None],
    pace: Mapping[str, float],
    seconds: Mapping[str, float],
) -> Report:
    """The report of an iteration; heldout, watched, pace and seconds as in Report."""
    tree, rewards = outcome.tree, outcome.rewards
    scored = next(iter(rewards.values()))
    return Report(
        iteration=outcome.number,
        window=list(tree.trained_steps),
        reward={name: mean_of_known(scores) for name, scores in rewards.items()},
        spread={name: mean_of_known(spreads(scores)) for name, scores in rewards.items()},
        correlation=correlation(rewards),
        unjudged=int(unjudged(rewards).sum()),
        zero_spread=zero_spread(rewards),
        leaves=scored.numel(),
        evaluations=tree.plan.cost().evaluations * len(scored),
        heldout=heldout,
        watched=dict(watched),
        pace=dict(pace),
        seconds={name: round(value, 4) for name, value in seconds.items()},
        **asdict(outcome.statistics),
    )


def mean_of_known(scores: Tensor) -> float | None:
    """The mean over all that was judged, if anything was."""
    mean = float(scores.nanmean())
    return None if isnan(mean) else mean
