"""A tree as a person looks at it: thumbnails, rewards and credit, as plain data and one sheet of pictures."""

from __future__ import annotations

import json
from io import BytesIO
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from .atomic import write_bytes, write_text
from .grow import BatchSizes
from .policy import Policy
from .sample import decode
from .tree import Tree

THUMBNAIL = 64
COLUMNS = 32


def generations(tree: Tree) -> list[int]:
    """The levels worth looking at: those that branch (or the first trained one, if none does) and the leaves."""
    branching = [t for t in tree.trained_steps if tree.plan.branch[t] > 1] or [tree.trained_steps[0]]
    return [*branching, tree.plan.steps]


def record(tree: Tree) -> dict[str, Any]:
    """The tree as plain data. nodes are ordered by generation; thumbnails are in the same order.

    Every node: prompt (index), step (the level it stands on), parent (index, null for roots), and, except for roots,
    log_prob and advantage of the edge into it. Leaves have their rewards and leaf advantage.
    """
    levels = generations(tree)
    nodes: list[dict[str, Any]] = []
    first_of_last = 0
    for generation, level in enumerate(levels):
        first = len(nodes)
        count = tree.plan.nodes(level)
        for i in range(len(tree.prompts) * count):
            node: dict[str, Any] = {"prompt": i // count, "step": level, "parent": None}
            if generation:
                above = levels[generation - 1]
                node["parent"] = first_of_last + i // tree.plan.branch[above]
                node["log_prob"] = float(tree.log_probs[above][i])
                if tree.edge_advantages:
                    node["advantage"] = float(tree.edge_advantages[above][i])
            if level == tree.plan.steps:
                node["rewards"] = {name: float(scores.flatten()[i]) for name, scores in tree.rewards.items()}
                if tree.leaf_advantages is not None:
                    node["leaf_advantage"] = float(tree.leaf_advantages.flatten()[i])
            nodes.append(node)
        first_of_last = first
    return {
        "prompts": list(tree.prompts),
        "sigmas": tree.sigmas.tolist(),
        "branch": list(tree.plan.branch),
        "roots": tree.plan.roots,
        "window": list(tree.trained_steps),
        "nodes": nodes,
    }


def node_images(tree: Tree, policy: Policy, batch: BatchSizes, leaf_images: Tensor) -> Tensor:
    """The picture of every node of `record`, in its order: predictions inside, finished pictures at the leaves.

    leaf_images: float32 [P * leaves, H, W, 3]. Returns float32 [nodes, H, W, 3].
    """
    inner = [decode(policy, tree.denoised[level], batch) for level in generations(tree)[:-1]]
    return torch.cat([*inner, leaf_images])


def save_tree(folder: Path, iteration: int, tree: Tree, policy: Policy, batch: BatchSizes, leaf_images: Tensor) -> None:
    """Write <iteration>.json, and <iteration>.jpg with the thumbnails, COLUMNS in a row."""
    save_sheet(folder / f"{iteration}.jpg", node_images(tree, policy, batch, leaf_images))
    about = {"iteration": iteration, "thumbnail": {"size": THUMBNAIL, "columns": COLUMNS}, **record(tree)}
    write_text(folder / f"{iteration}.json", json.dumps(about) + "\n")


def save_sheet(path: Path, images: Tensor) -> None:
    """Write one JPEG with all images [N, H, W, 3] in 0..1 as squares of THUMBNAIL pixels, COLUMNS in a row."""
    rows = -(-len(images) // COLUMNS)
    sheet = Image.new("RGB", (COLUMNS * THUMBNAIL, rows * THUMBNAIL), "white")
    for i, pixels in enumerate((images * 255).round().to(torch.uint8).numpy()):
        thumbnail = Image.fromarray(pixels)
        thumbnail.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
        row, column = divmod(i, COLUMNS)
        sheet.paste(thumbnail, (column * THUMBNAIL, row * THUMBNAIL))
    file = BytesIO()
    sheet.save(file, format="JPEG", quality=90)
    write_bytes(path, file.getvalue())
