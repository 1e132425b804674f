"""The configurations that benchmarks compare: the published methods, and TreeGRPO with one setting changed."""

from __future__ import annotations

from typing import Any

from ..method.plan import spaced
from ..training.config import Config, KernelTable, PlanTable, WindowTable
from ..training.demo_config import demo_config

REFERENCE = "TreeGRPO"
SHIFT_EVERY = 6
"""Moves the window over its 7 places in 42 iterations, about a run; the released code takes 50 iterations a place."""
KL_WEIGHTS = (0.03, 0.3)
"""After 24 iterations the gradient of the KL is about a tenth of the reward's, and about as long as it."""
IMAGES_PER_PROMPT = 4
"""Held-out pictures at every point of a learning curve: seeds differ more than the mean of 4 pictures a prompt."""


def method_configs(branch: int, depth: int, prompts_per_iteration: int) -> dict[str, Config]:
    """The published methods on the bundled model; see published_methods."""
    return published_methods(
        changed(demo_config("ink"), "train", prompts_per_iteration=prompts_per_iteration), branch, depth
    )


def published_methods(base: Config, branch: int, depth: int) -> dict[str, Config]:
    """The published methods, all with branch^depth leaves per prompt; only plan, window and kernel differ from base."""
    leaves = branch**depth
    geometric, splits = WindowTable(), WindowTable(schedule="list", at=list(spaced(depth)))

    def variant(plan: PlanTable, window: WindowTable, kernel: str) -> Config:
        return base.model_copy(update={"plan": plan, "window": window, "kernel": KernelTable(name=kernel)})

    return {
        REFERENCE: variant(PlanTable(branch=branch, depth=depth), geometric, "cps"),
        "BranchGRPO": variant(PlanTable(method="branchgrpo", branch=branch, depth=depth), splits, "dance_sde"),
        "MixGRPO": variant(PlanTable(method="mixgrpo", depth=depth, roots=leaves), geometric, "cps"),
        "Flow-GRPO-Fast": variant(PlanTable(method="mixgrpo", depth=2, roots=leaves), geometric, "flow_sde"),
        "Flow-GRPO": variant(PlanTable(method="flow_grpo", roots=leaves), geometric, "flow_sde"),
        "DanceGRPO": variant(PlanTable(method="dance_grpo", roots=leaves, shared_noise=True), geometric, "dance_sde"),
    }


def learning_groups() -> dict[str, dict[str, Config]]:
    """What `bench learning` compares, by group; TreeGRPO as it comes is the first of each.

    methods: the published ones, and again with TreeGRPO's kernel where theirs is another, so that plan and kernel can
    be told apart. ablations: one setting of TreeGRPO changed. rates: all methods at a third and three times the
    learning rate, so that none loses by its step size alone.
    """
    published = {
        name: changed(config, "evaluation", images_per_prompt=IMAGES_PER_PROMPT)
        for name, config in method_configs(branch=3, depth=3, prompts_per_iteration=4).items()
    }
    base = published[REFERENCE]
    twins = {
        f"{name}, {base.kernel.name}": config.model_copy(update={"kernel": base.kernel})
        for name, config in published.items()
        if config.kernel != base.kernel
    }
    methods = {**published, **twins}
    rates = {}
    for name, config in methods.items():
        rates.update({name: config, **_rates(name, config)})
    return {"methods": methods, "ablations": {REFERENCE: base, **_ablations(base)}, "rates": rates}


def changed(config: Config, table: str, **values: Any) -> Config:
    """The configuration with other values in one of its tables."""
    return config.model_copy(update={table: getattr(config, table).model_copy(update=values)})


def _ablations(base: Config) -> dict[str, Config]:
    sizes = {
        f"k{k} w{w}": changed(base, "plan", branch=k, depth=w) for k, w in ((2, 3), (2, 4), (3, 2), (3, 4), (4, 3))
    }
    late = base.plan.steps - 1 - base.plan.depth
    return {
        **sizes,
        "window uniform": changed(base, "window", schedule="uniform"),
        "window shifting": changed(base, "window", schedule="shifting", every=SHIFT_EVERY),
        "window first": changed(base, "window", schedule="fixed", start=0),
        "window last": changed(base, "window", schedule="fixed", start=late),
        "2 trees": changed(base, "plan", roots=2),
        "2 trees, one noise": changed(base, "plan", roots=2, shared_noise=True),
        "3 trees of k3 w2": changed(base, "plan", roots=3, depth=2),
        "backup mean": changed(base, "advantage", backup="mean"),
        "centring siblings": changed(base, "advantage", centring="siblings"),
        "weighting steps": changed(base, "update", weighting="steps"),
        "siblings and steps": changed(changed(base, "advantage", centring="siblings"), "update", weighting="steps"),
        **{f"kernel {name}": changed(base, "kernel", name=name) for name in ("flow_sde", "dance_sde", "ddim")},
        **{f"KL {weight:g}": changed(base, "update", kl=weight) for weight in KL_WEIGHTS},
        "2 updates per rollout": changed(base, "update", updates_per_rollout=2),
        **_rates(REFERENCE, base),
    }


def _rates(name: str, config: Config) -> dict[str, Config]:
    rate = config.update.learning_rate
    return {f"{name}, rate {new:g}": changed(config, "update", learning_rate=new) for new in (rate / 3, rate * 3)}
