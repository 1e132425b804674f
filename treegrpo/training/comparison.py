"""Before and after: a LoRA against its base model on the same noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..memory.batch_sizes import drawing_sizes
from ..method.grow import BatchSizes
from ..method.policy import Policy
from ..rewards.reward import Rewards, check_prompts
from .evaluation import Evaluation, Interval, bootstrap, evaluate


@dataclass(frozen=True)
class Figures:
    """Rewards with 95 % intervals; gain is the mean of the differences picture by picture."""

    before: Interval
    after: Interval
    gain: Interval
    diversity_before: float
    diversity_after: float

    @property
    def significant(self) -> bool:
        """Whether the whole interval of the gain lies above 0."""
        return self.gain.low > 0


@dataclass(frozen=True)
class Comparison:
    """Both evaluations and the figures drawn from them."""

    before: Evaluation
    after: Evaluation
    figures: Figures


def compare(
    policy: Policy,
    prompts: Sequence[str],
    rewards: Rewards,
    *,
    images_per_prompt: int,
    steps: int,
    seed: int,
    sizes: BatchSizes | None = None,
) -> Comparison:
    """Evaluate the base model and the policy's adapter on the same prompts and noise.

    Raises UsageError when a reward cannot judge the prompts, and RunError when none has an opinion on any picture.
    """
    for reward, _ in rewards:
        check_prompts(reward, prompts)
    batch = sizes or drawing_sizes(policy, prompts, steps)

    def judge() -> Evaluation:
        return evaluate(
            policy, prompts, rewards, images_per_prompt=images_per_prompt, steps=steps, seed=seed, batch=batch
        )

    with policy.reference():
        before = judge()
    after = judge()
    figures = Figures(
        before=bootstrap(before.scores),
        after=bootstrap(after.scores),
        gain=bootstrap(after.scores - before.scores),
        diversity_before=before.diversity,
        diversity_after=after.diversity,
    )
    return Comparison(before, after, figures)
