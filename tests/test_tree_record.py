import json

import pytest
import torch
from PIL import Image

from tests.conftest import SIZES
from treegrpo.advantage import with_advantages
from treegrpo.grow import grow
from treegrpo.plan import preset
from treegrpo.process import Kernel
from treegrpo.sample import decode
from treegrpo.tree_record import COLUMNS, THUMBNAIL, generations, node_images, record, save_tree


def grown(policy, method, roots):
    plan = preset(method, steps=5, window=(1, 3), branch=2, roots=roots)
    tree = grow(policy, ["bear", "frog"], plan, Kernel("cps"), torch.Generator().manual_seed(0), SIZES)
    images = decode(policy, tree.leaves, SIZES)
    tree = tree.with_rewards({"r": torch.arange(float(len(images)))})
    return with_advantages(tree, {"r": 1.0}), images


@pytest.mark.parametrize(("method", "roots", "levels"), [("treegrpo", 2, [1, 3, 5]), ("flow_grpo", 3, [0, 5])])
def test_record_agrees_with_the_tree(policy, method, roots, levels):
    tree, images = grown(policy, method, roots)
    assert generations(tree) == levels
    about = record(tree)
    nodes = about["nodes"]
    assert (
        len(nodes)
        == sum(2 * tree.plan.nodes(level) for level in levels)
        == len(node_images(tree, policy, SIZES, images))
    )
    leaves = [node for node in nodes if node["step"] == 5]
    assert [leaf["rewards"]["r"] for leaf in leaves] == tree.rewards["r"].flatten().tolist()
    for i, node in enumerate(nodes):
        if node["parent"] is None:
            assert node["step"] == levels[0]
        else:
            parent = nodes[node["parent"]]
            assert node["parent"] < i
            assert parent["prompt"] == node["prompt"]
            assert levels.index(node["step"]) == levels.index(parent["step"]) + 1
    counts = torch.bincount(torch.tensor([node["parent"] for node in nodes if node["parent"] is not None]))
    assert set(counts.tolist()) <= {tree.plan.branch[levels[0]]}


def test_saved_tree_is_json_and_one_sheet(policy, tmp_path):
    tree, images = grown(policy, "treegrpo", 1)
    save_tree(tmp_path, 7, tree, policy, SIZES, images)
    about = json.loads((tmp_path / "7.json").read_text())
    assert about["iteration"] == 7
    assert about["prompts"] == ["bear", "frog"]
    with Image.open(tmp_path / "7.jpg") as sheet:
        assert sheet.size == (COLUMNS * THUMBNAIL, THUMBNAIL)
        last = about["nodes"].index(about["nodes"][-1])
        crop = sheet.crop((last * THUMBNAIL, 0, (last + 1) * THUMBNAIL, THUMBNAIL)).convert("RGB")
    pixels = torch.frombuffer(bytearray(crop.tobytes()), dtype=torch.uint8).view(THUMBNAIL, THUMBNAIL, 3) / 255
    # JPEG at quality 90 moves a pixel by a few grey levels on average.
    assert (pixels - images[-1]).abs().mean() < 0.05
