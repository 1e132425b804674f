"""A tree as a person looks at it: pictures, rewards and credit as plain data, in the form of web/schema.json."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from math import isfinite
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..method.grow import BatchSizes
from ..method.plan import TreePlan
from ..method.policy import Policy
from ..method.sample import decode
from ..method.tree import Tree
from .atomic import write_text
from .sheet import save_sheet

Record = dict[str, Any]
DIGITS = 6
"""Significant ones of every number in a record; float32 has seven."""


def generations(plan: TreePlan) -> list[int]:
    """The levels worth looking at: those that branch (or the first stochastic one, if none does) and the leaves."""
    branching = [t for t in plan.stochastic_steps if plan.branch[t] > 1] or [plan.stochastic_steps[0]]
    return [*branching, plan.steps]


def outline(plan: TreePlan, prompts: Sequence[str], sigmas: Tensor, iteration: int) -> Record:
    """The record of a tree that is still to grow."""
    return {
        "iteration": iteration,
        "step": 0,
        "complete": False,
        "prompts": list(prompts),
        "sigmas": _numbers(sigmas),
        "branch": list(plan.branch),
        "roots": plan.roots,
        "window": list(plan.stochastic_steps),
        "generations": [],
        "rewards": {},
        "leaf_advantage": [],
        "sheet": None,
    }


def generation(plan: TreePlan, level: int) -> Record:
    """The nodes of a level, of which no more is known than that they are there."""
    return {"step": level, "count": plan.nodes(level), "log_prob": [], "advantage": [], "share": []}


def record(tree: Tree, iteration: int) -> Record:
    """A tree with all that is known of it, without its pictures."""
    levels = generations(tree.plan)
    nodes = [generation(tree.plan, level) for level in levels]
    for above, below in zip(levels, nodes[1:], strict=False):
        below["log_prob"] = _numbers(tree.log_probs[above])
        if tree.edge_advantages:
            below["advantage"] = _numbers(tree.edge_advantages[above])
            below["share"] = _numbers(tree.edge_shares[above])
    return outline(tree.plan, tree.prompts, tree.sigmas, iteration) | {
        "step": tree.plan.steps,
        "complete": tree.leaf_advantages is not None,
        "generations": nodes,
        "rewards": {name: _numbers(scores) for name, scores in tree.rewards.items()},
        "leaf_advantage": [] if tree.leaf_advantages is None else _numbers(tree.leaf_advantages),
    }


def node_images(tree: Tree, policy: Policy, batch: BatchSizes, leaf_images: Tensor) -> Tensor:
    """The picture of every node, by generation, prompt and birth: predictions inside, finished pictures at the leaves.

    leaf_images: float32 [P * leaves, H, W, 3]. Returns float32 [nodes, H, W, 3].
    """
    inner = [decode(policy, tree.denoised[level], batch) for level in generations(tree.plan)[:-1]]
    return torch.cat([*inner, leaf_images])


def save_tree(folder: Path, name: str, about: Record, images: Tensor | None = None) -> Record:
    """Write <name>.json and, with images float32 [nodes, H, W, 3] in the order of node_images, <name>.jpg.

    Returns the record as it was written, with the layout of its sheet. The picture is written first: a record never
    speaks of one that is not there.
    """
    if images is not None:
        about = about | {"sheet": asdict(save_sheet(folder / f"{name}.jpg", images))}
    write_text(folder / f"{name}.json", json.dumps(about) + "\n")
    return about


def _numbers(values: Tensor) -> list[float | None]:
    """All entries in order, null where they are not numbers."""
    return [float(f"{x:.{DIGITS}g}") if isfinite(x) else None for x in values.detach().flatten().tolist()]
