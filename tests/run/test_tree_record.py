import json

import jsonschema
import pytest
import torch
from PIL import Image

from tests.small_runs import SIZES
from tests.web_schema import checked
from treegrpo.method.advantage import with_advantages
from treegrpo.method.grow import grow
from treegrpo.method.plan import preset
from treegrpo.method.process import Kernel
from treegrpo.method.sample import decode
from treegrpo.run.tree_record import generations, node_images, outline, record, save_tree


def grown(policy, method, roots):
    plan = preset(method, steps=5, window=(1, 3), branch=2, roots=roots)
    tree = grow(policy, ["bear", "frog"], plan, Kernel("cps"), torch.Generator().manual_seed(0), SIZES)
    images = decode(policy, tree.leaves, SIZES)
    tree = tree.with_rewards({"r": torch.arange(float(len(images)))})
    return with_advantages(tree, {"r": 1.0}), images


@pytest.mark.parametrize(("method", "roots", "levels"), [("treegrpo", 2, [1, 3, 5]), ("flow_grpo", 3, [0, 5])])
def test_record_agrees_with_the_tree(policy, method, roots, levels):
    tree, images = grown(policy, method, roots)
    assert generations(tree.plan) == levels
    about = checked("Tree", record(tree, 7))
    assert about["iteration"] == 7
    assert about["complete"]
    first, *others = about["generations"]
    assert first == {"step": levels[0], "count": roots, "log_prob": [], "advantage": [], "share": []}
    for above, here in zip(levels, others, strict=False):
        assert len(here["log_prob"]) == len(here["advantage"]) == 2 * here["count"]
        # Six digits are kept.
        assert here["log_prob"] == pytest.approx(tree.log_probs[above].tolist(), rel=1e-5)
        assert here["advantage"] == pytest.approx(tree.edge_advantages[above].tolist(), rel=1e-5)
        assert sum(here["share"]) == pytest.approx(2 * roots, rel=1e-5)
    assert about["rewards"]["r"] == tree.rewards["r"].flatten().tolist()
    assert about["leaf_advantage"] == pytest.approx(tree.leaf_advantages.flatten().tolist(), rel=1e-5)
    nodes = sum(len(about["prompts"]) * each["count"] for each in about["generations"])
    assert nodes == len(node_images(tree, policy, SIZES, images))


def test_a_prompt_that_was_left_out_has_nulls(policy):
    tree, images = grown(policy, "treegrpo", 1)
    scores = torch.arange(float(len(images))).view(2, -1)
    scores[1] = torch.nan
    tree = with_advantages(tree.with_rewards({"r": scores}), {"r": 1.0})
    about = checked("Tree", record(tree, 0))
    half = len(images) // 2
    assert about["rewards"]["r"][half:] == [None] * half
    assert about["leaf_advantage"][half:] == [0.0] * half


def test_an_outline_is_a_record_too(policy):
    tree, _ = grown(policy, "treegrpo", 1)
    about = checked("Tree", outline(tree.plan, tree.prompts, tree.sigmas, 3))
    assert about["generations"] == []
    assert not about["complete"]


def test_the_schema_refuses_what_it_does_not_know():
    with pytest.raises(jsonschema.ValidationError):
        checked("Tree", {"iteration": 1})


def test_saved_tree_is_json_and_one_sheet(policy, tmp_path):
    tree, images = grown(policy, "treegrpo", 1)
    pictures = node_images(tree, policy, SIZES, images)
    written = save_tree(tmp_path, "7", record(tree, 7), pictures)
    assert json.loads((tmp_path / "7.json").read_text()) == written
    layout = written["sheet"]
    assert layout["tiles"] == len(pictures)
    assert (layout["height"], layout["width"]) == pictures.shape[1:3]
    with Image.open(tmp_path / "7.jpg") as sheet:
        row, column = divmod(layout["tiles"] - 1, layout["columns"])
        left, top = column * layout["width"], row * layout["height"]
        crop = sheet.crop((left, top, left + layout["width"], top + layout["height"])).convert("RGB")
    pixels = torch.frombuffer(bytearray(crop.tobytes()), dtype=torch.uint8).view(*images.shape[1:]) / 255
    # JPEG at quality 90 moves a pixel by a few grey levels on average.
    assert (pixels - images[-1]).abs().mean() < 0.05
