"""Every shipped workflow on the real server, as the browser would queue it, shortened in what costs time alone."""

from __future__ import annotations

import itertools
import json
import time
from dataclasses import dataclass
from typing import Any

import pytest
from PIL import Image, ImageChops

from comfyui.serve import REPOSITORY

from . import checkpoints
from .server import History, Server
from .workflow import ui_to_api

FOLDER = REPOSITORY / "workflows"
# The later ones need what quickstart leaves behind.
BUNDLED = (
    *("quickstart", "compare_before_after", "continue_a_run", "step_by_step"),
    *("align_your_checkpoint", "your_taste"),
)
FAMILIES = {
    "align_z_image_turbo": ["ZImage", "Krea2"],
    "align_qwen_image": ["QwenImage"],
    "align_flux2_klein": ["Flux2"],
    "align_sdxl": ["SDXL"],
    "edit_your_way": ["QwenImage"],
}
"""Workflows for large models -> families of the zoo that they are run with."""
NAMES = (*BUNDLED, *FAMILIES)
LOADERS = {"UNETLoader": [0], "CLIPLoader": [1], "VAELoader": [2], "CheckpointLoaderSimple": [0, 1, 2]}
"""Nodes that the zoo's replaces -> its outputs in place of theirs."""
TITLE_HEIGHT = 30
SHORTER: dict[str, dict[str, Any]] = {
    "TreeGRPO_Train": {"iterations": 2, "prompts_per_iteration": 2, "save_every": 2, "evaluate_every": 2},
    "TreeGRPO_Plan": {"method.branch": 2, "method.depth": 2, "steps": 4, "width": 64, "height": 64},
    "KSampler": {"steps": 4},
    "EmptyLatentImage": {"width": 64, "height": 64},
}


@dataclass(frozen=True)
class Run:
    """A workflow that was run."""

    workflow: dict[str, Any]
    prompt: dict[str, Any]
    history: History

    def pictures(self, server: Server, title: str) -> list[Image.Image]:
        """What the node of this title shows."""
        [node] = [node for node in self.workflow["nodes"] if node.get("title") == title]
        return [server.view(reference) for reference in self.history.outputs[str(node["id"])]["images"]]


def shipped(name: str) -> dict[str, Any]:
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def shortened(prompt: dict[str, Any], **replaced: dict[str, Any]) -> dict[str, Any]:
    """The prompt with the values of SHORTER, and with others by class of node."""
    for node in prompt.values():
        kind = node["class_type"]
        node["inputs"] |= SHORTER.get(kind, {}) | replaced.get(kind, {})
    return prompt


def on_a_tiny_model(prompt: dict[str, Any], family: str) -> dict[str, Any]:
    """The prompt with the zoo's loader in place of its own, and without LoRAs that the zoo has not."""
    kinds = {key: node["class_type"] for key, node in prompt.items()}
    instead = {(key, slot): ["zoo", out] for key in kinds for slot, out in enumerate(LOADERS.get(kinds[key], []))}
    for key, kind in kinds.items():
        if kind == "LoraLoaderModelOnly":
            instead[key, 0] = instead[tuple(prompt[key]["inputs"]["model"])]
    for node in prompt.values():
        for name, value in node["inputs"].items():
            node["inputs"][name] = instead.get(tuple(value), value) if isinstance(value, list) else value
    gone = {key for key, _ in instead}
    loader = {"zoo": {"class_type": "TestZoo", "inputs": {"family": family}}}
    return {key: node for key, node in prompt.items() if key not in gone} | loader


@pytest.mark.parametrize(
    ("name", "family"),
    [
        pytest.param(name, family, marks=() if family == "ZImage" else pytest.mark.long)
        for name, families in FAMILIES.items()
        for family in families
    ],
)
def test_it_runs_on_a_tiny_model_of_its_family(server: Server, name: str, family: str) -> None:
    """With all of the family but its size: network, sampling, tokenizer, and how ComfyUI tells the network of both."""
    Image.new("RGB", (48, 64), "red").save(server.base / "input" / "example.png")
    tiny = {
        # Large steps, so that two of them show in a picture.
        "TreeGRPO_Train": {"run": f"{name} {family}", "learning_rate": 0.03},
        "TreeGRPO_LoraPolicy": {"rank": 2},
    }
    if name == "edit_your_way":  # ComfyUI's node enlarges pictures for it to a million pixels
        tiny["TreeGRPO_Train"] |= {"iterations": 1, "prompts_per_iteration": 1, "evaluate_every": 0}
        tiny["TreeGRPO_Plan"] = {"method.depth": 1}
        tiny["KSampler"] = {"steps": 1}
        tiny["CLIPVisionLoader"] = {"clip_name": checkpoints.clip_vision(server.base / "models" / "clip_vision").name}
    prompt = shortened(ui_to_api(shipped(name), server.object_info()), **tiny)
    history = server.run(on_a_tiny_model(prompt, family), timeout=300)
    assert history.error is None, history.error["exception_message"]
    run = Run(shipped(name), prompt, history)
    for before, after in zip(*(run.pictures(server, title) for title in ("Before", "After")), strict=True):
        assert ImageChops.difference(before.convert("RGB"), after.convert("RGB")).getbbox() is not None
    file = server.base / "output" / "treegrpo" / f"{name} {family}" / "metrics.jsonl"
    assert {error for line in file.read_text().splitlines() for error in json.loads(line)["ratio_error"]} == {0.0}


@pytest.mark.parametrize("name", FAMILIES)
def test_missing_files_are_offered_by_name(name: str) -> None:
    """As ComfyUI does: by the address and the folder of every file that a loader of the workflow names."""
    loaders = [node for node in shipped(name)["nodes"] if node["type"] in LOADERS or node["type"].startswith("Lora")]
    loaders = [node for node in loaders if node["type"] != "LoraModelLoader"]
    assert len(loaders) >= (1 if name == "align_sdxl" else 3)
    for node in loaders:
        [file] = node["properties"]["models"]
        assert file["name"] == node["widgets_values"][0]
        assert file["url"].startswith("https://huggingface.co/")
        assert file["url"].endswith(file["name"])


@pytest.fixture(scope="module")
def runs(server: Server) -> dict[str, Run]:
    """All workflows for models at hand, run in the order of BUNDLED."""
    # Not the checkpoint of other tests, which count on loading theirs themselves.
    checkpoint = checkpoints.sd3_with_clip(server.base / "models" / "checkpoints", seed=1)
    replaced = {
        "continue_a_run": {"TreeGRPO_Train": {"iterations": 3}},
        "your_taste": {"TreeGRPO_Train": {"evaluate_every": 0}},
        "align_your_checkpoint": {"CheckpointLoaderSimple": {"ckpt_name": checkpoint.name}},
    }
    done = {}
    for name in BUNDLED:
        workflow = shipped(name)
        prompt = shortened(ui_to_api(workflow, server.object_info()), **replaced.get(name, {}))
        running = server.queue(prompt)
        if name == "your_taste":
            vote(server, running)
        done[name] = Run(workflow, prompt, server.wait(running))
    return done


def vote(server: Server, running: str) -> None:
    """Like the first picture of every ballot best, until the run has ended."""
    while running not in server.get(f"/history/{running}"):
        for ballot in server.get("/treegrpo/ballots")["ballots"]:
            stars = [5] + [2] * (len(ballot["pictures"]) - 1)
            server.post(f"/treegrpo/ballots/{ballot['id']}", {"votes": stars})
        time.sleep(0.05)


def test_all_of_them_are_tested() -> None:
    assert {file.stem for file in FOLDER.glob("*.json")} == set(NAMES)


@pytest.mark.parametrize("name", BUNDLED)
def test_it_runs(runs: dict[str, Run], name: str) -> None:
    history = runs[name].history
    assert history.error is None
    assert history.status == "success"
    shown = {key for key, node in runs[name].prompt.items() if node["class_type"].startswith("Preview")}
    assert shown <= set(history.outputs)


@pytest.mark.parametrize("name", BUNDLED)
def test_load_lora_finds_what_it_trained(server: Server, runs: dict[str, Run], name: str) -> None:
    trainers = ("TreeGRPO_Train", "TreeGRPO_SaveRun")
    made = [node["inputs"]["run"] for node in runs[name].prompt.values() if node["class_type"] in trainers]
    assert len(made) == (0 if name == "compare_before_after" else 1)
    listed = server.object_info("LoraLoaderModelOnly")["input"]["required"]["lora_name"]
    for run in made:
        assert (server.base / "output" / "loras" / "treegrpo" / f"{run}.safetensors").is_file()
        assert f"treegrpo/{run}.safetensors" in (listed[1]["options"] if listed[0] == "COMBO" else listed[0])


@pytest.mark.parametrize("name", [name for name in BUNDLED if name != "step_by_step"])
def test_pictures_before_and_after_differ(server: Server, runs: dict[str, Run], name: str) -> None:
    before, after = (runs[name].pictures(server, title) for title in ("Before", "After"))
    assert len(before) == len(after) >= 2
    for one, other in zip(before, after, strict=True):
        assert ImageChops.difference(one.convert("RGB"), other.convert("RGB")).getbbox() is not None


def test_the_run_is_continued(runs: dict[str, Run]) -> None:
    [train] = [key for key, node in runs["continue_a_run"].prompt.items() if node["class_type"] == "TreeGRPO_Train"]
    assert runs["continue_a_run"].history.outputs[train]["text"][0].startswith("3 of 3")


def test_the_template_browser_lists_them(server: Server) -> None:
    assert set(server.get("/api/workflow_templates")["treegrpo"]) == set(NAMES)
    for name in NAMES:
        assert server.get(f"/api/workflow_templates/treegrpo/{name}.json") == shipped(name)


@pytest.mark.parametrize("name", NAMES)
def test_it_has_a_thumbnail(name: str) -> None:
    file = FOLDER / f"{name}.jpg"
    with Image.open(file) as picture:
        assert picture.format == "JPEG"
        assert picture.size == (512, 512)  # the template browser's tiles are square
    assert 5_000 < file.stat().st_size < 100_000


@pytest.mark.parametrize("name", NAMES)
def test_nodes_lie_apart_and_a_note_explains_them(name: str) -> None:
    nodes = shipped(name)["nodes"]
    for one, other in itertools.combinations(nodes, 2):
        assert not overlap(one, other), f"{one['type']} {one['id']} lies over {other['type']} {other['id']}"
    assert any(node["type"] == "MarkdownNote" and node.get("title") == "Read me" for node in nodes)


def overlap(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two saved nodes cover the same spot. The position of a node is below its title."""
    (x, y), (width, height) = one["pos"], one["size"]
    (u, v), (breadth, depth) = other["pos"], other["size"]
    return x < u + breadth and u < x + width and y - TITLE_HEIGHT < v + depth and v - TITLE_HEIGHT < y + height
