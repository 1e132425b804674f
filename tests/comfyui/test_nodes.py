"""The nodes in the real server: what they make, what they refuse, and what an interrupt leaves."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from tests.comfyui import checkpoints
from tests.comfyui.graphs import drawing, foundation, node, one_iteration, training
from tests.comfyui.server import PromptRefused, Server
from treegrpo.pictures.image_file import save_image


def lora(server: Server, run: str) -> dict[str, torch.Tensor]:
    """The LoRA that Load LoRA finds for a run."""
    return load_file(server.base / "output" / "loras" / "treegrpo" / f"{run}.safetensors")


def metrics(server: Server, run: str) -> list[dict[str, Any]]:
    """The lines of a run's metrics.jsonl."""
    file: Path = server.base / "output" / "treegrpo" / run / "metrics.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()]


def assert_equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=0, atol=0)


def failure(server: Server, graph: dict[str, Any]) -> str:
    """The message of ComfyUI's error dialog."""
    history = server.run(graph)
    assert history.error is not None, history.outputs
    return f"{history.error['node_type']}: {history.error['exception_message']}"


def test_four_nodes_are_one_iteration_and_a_second_queue_does_nothing(server):
    first = server.run(one_iteration())
    assert first.error is None
    assert "largest |ratio - 1| 0.0e+00" in first.outputs["update"]["text"][0]
    tree, leaves = (server.view(image) for image in first.outputs["preview"]["images"])
    assert tree.width > 300
    assert leaves.size == (4 * 64, 64)
    again = server.run(one_iteration())
    assert again.executed == []
    assert set(again.cached) == set(one_iteration())


def test_the_four_nodes_do_what_train_does(server):
    """Two iterations by hand, through the run folder, are the two of Train."""
    server.run(training("whole", iterations=2))
    server.run(one_iteration())
    loaded = one_iteration(iteration=1)
    loaded["policy"] = node("TreeGRPO_LoadRun", model=["model", 0], run="steps")
    assert server.run(loaded).error is None
    assert_equal(lora(server, "steps"), lora(server, "whole"))


def test_rewards_are_mixed_as_asked(server):
    """Sizes in kB drown a cosine where raw rewards are summed; normalised, the weights alone count."""
    sockets = {
        "size": {"rewards__reward0": ["size", 0]},
        "sum": {"rewards__reward1": ["size", 0], "mixing": "sum"},
        "normalise": {"rewards__reward1": ["size", 0]},
    }
    norm = {}
    for name, settings in sockets.items():
        graph = training(f"mixed {name}", iterations=1, **settings)
        graph["size"] = node("TreeGRPO_Reward", reward="jpeg_compressibility", weight=1.0)
        assert server.run(graph).error is None
        [norm[name]] = metrics(server, f"mixed {name}")[0]["grad_norm"]
    assert abs(norm["sum"] - norm["size"]) < 0.2 * abs(norm["normalise"] - norm["size"])


def test_a_run_that_is_continued_equals_one_without_a_break(server):
    server.run(training("unbroken", iterations=3))
    server.run(training("broken", iterations=1))
    server.run(training("broken", iterations=3))
    assert_equal(lora(server, "broken"), lora(server, "unbroken"))
    assert [row["iteration"] for row in metrics(server, "broken")] == [0, 1, 2]
    assert "treegrpo/broken.safetensors" in server.object_info("LoraLoader")["input"]["required"]["lora_name"][0]


def test_a_finished_run_shows_what_its_lora_draws(server):
    left_open = {"learning_rate": 0.0, "memory_gb": 0.0}
    server.run(training("finished", iterations=2, **left_open))
    graph = training("finished", iterations=1, **left_open)
    graph["show"] = node("PreviewImage", images=["train", 3])
    history = server.run(graph)
    chosen = "Stable Diffusion 3: learning rate 0.0003, 2.0 GiB for activations"
    assert history.outputs["train"]["text"] == [f"Nothing was left to do.\n{chosen}"]
    pictures = [server.view(image) for image in history.outputs["show"]["images"]]
    assert len(pictures) == 2
    assert all(len(picture.getcolors(64 * 64)) > 50 for picture in pictures)


def test_an_interrupt_keeps_what_was_learned_and_the_graph_goes_on(server):
    graph = training("interrupted", iterations=50)
    graph["load"] = node("LoraModelLoader", model=["model", 0], lora=["train", 1], strength_model=1.0, bypass=False)
    graph |= drawing(model=["load", 0])
    running = server.queue(graph)
    server.wait_until(running, (server.base / "output" / "treegrpo" / "interrupted" / "state.safetensors").exists)
    server.interrupt()
    history = server.wait(running)
    assert history.status == "success"
    assert history.outputs["train"]["text"][0].startswith("Interrupted and saved.")
    assert len(history.outputs["show"]["images"]) == 1
    done = len(metrics(server, "interrupted"))
    assert 0 < done < 50
    again = server.queue(graph)
    server.wait_until(again, lambda: len(metrics(server, "interrupted")) > done)
    server.interrupt()
    assert "train" in server.wait(again).executed, "queueing it again goes on, though no input has changed"
    done = len(metrics(server, "interrupted"))
    server.run(training("interrupted", iterations=done + 1))
    server.run(training("straight", iterations=done + 1))
    assert_equal(lora(server, "interrupted"), lora(server, "straight"))


def test_heldout_prompts_are_judged_and_stop_the_run(server):
    graph = training("judged", iterations=6, evaluate_every=1, patience=1, learning_rate=1e-6, heldout=["heldout", 0])
    graph["heldout"] = node("TreeGRPO_Prompts", clip=["model", 1], text="mouse\ndonut", file="none", negative="")
    assert server.run(graph).error is None
    rows = metrics(server, "judged")
    assert all(row["heldout"] is not None for row in rows)
    best = max(range(len(rows)), key=lambda i: rows[i]["heldout"])
    assert len(rows) == 6 or best == len(rows) - 2


def test_a_watched_reward_stops_a_run_that_hacks_the_trained_one(server):
    """Towards busy pictures, far enough to lose the things that the prompts name."""
    settings = {"iterations": 12, "evaluate_every": 1, "patience": 2, "learning_rate": 1e-2}
    graph = training("hacked", **settings, rewards__reward0=["busy", 0], heldout=["heldout", 0], watched=["reward", 0])
    graph["busy"] = node("TreeGRPO_Reward", reward="jpeg_incompressibility", weight=1.0)
    graph["reward"]["inputs"]["reward.template"] = "{prompt}"
    graph["heldout"] = node("TreeGRPO_Prompts", clip=["model", 1], text="bell\nfrog", file="none", negative="")
    history = server.run(graph)
    assert history.error is None
    rows = metrics(server, "hacked")
    assert 3 <= len(rows) < 12
    marks = [row["watched"]["clipscore"] for row in rows]
    best = marks.index(max(marks))
    assert all(row["heldout"] > rows[best]["heldout"] for row in rows[-2:])
    [text] = history.outputs["train"]["text"]
    assert text.startswith(
        f"Stopped: the watched reward fell from {marks[best]:.4f} to {marks[-1]:.4f} in 2 evaluations"
    )
    assert f"at iteration {best + 1}, is treegrpo/hacked-best.safetensors in Load LoRA." in text
    graph["train"]["inputs"] |= {"run": "shorter", "iterations": best + 1}
    assert server.run(graph).error is None
    assert_equal(lora(server, "hacked-best"), lora(server, "shorter"))
    assert "treegrpo/hacked-best.safetensors" in server.object_info("LoraLoader")["input"]["required"]["lora_name"][0]


def test_what_is_left_at_0_suits_the_model(server):
    """Tree Plan says what it chose, and stock nodes draw with it."""
    graph = foundation(rank=0, alpha=0.0)
    graph["plan"]["inputs"] |= dict.fromkeys(("method.depth", "steps", "cfg", "height"), 0)
    graph["plan"]["inputs"] |= {"scheduler": "auto", "policy": ["policy", 0]}  # the bundled model draws 64 x 64 only
    graph |= drawing(steps=["plan", 2], cfg=["plan", 3], scheduler=["plan", 4])
    graph["empty"]["inputs"] |= {"width": ["plan", 5], "height": ["plan", 5]}
    history = server.run(graph)
    assert history.error is None
    chosen, leaves, *_ = history.outputs["plan"]["text"][0].splitlines()
    assert chosen == "Stable Diffusion 3: 10 steps, cfg 4.5, simple, 64 x 512"
    assert leaves.startswith("8 leaves")
    assert history.outputs["policy"]["text"] == ["Stable Diffusion 3: rank 32, alpha 32, attention"]
    [picture] = history.outputs["show"]["images"]
    assert len(server.view(picture).getcolors(64 * 64)) > 50
    del graph["plan"]["inputs"]["policy"]
    assert "policy: some settings are 0 or auto" in failure(server, graph)


def test_pictures_to_change_are_for_models_that_look_at_them(server):
    """The bundled model does not, which is found out before anything is drawn; the words and pictures are paired."""
    folder = server.base / "input" / "pairs"
    folder.mkdir()
    for name in ("one", "two"):
        save_image(folder / f"{name}.png", torch.rand(40, 56, 3))
        (folder / f"{name}.txt").write_text("make it blue")
    assert "pairs/" in server.object_info("TreeGRPO_Prompts")["input"]["required"]["file"][1]["options"]
    graph = training("changed")
    graph["pictures"] = node("LoadImageDataSetFromFolder", folder="pairs")
    written = {"clip": ["model", 1], "text": "make it blue", "file": "none", "negative": "", "vae": ["model", 2]}
    for name, inputs, count in (
        ("a folder", written | {"file": "pairs/"}, 2),
        ("one line for all", written | {"images": ["pictures", 0]}, 2),
        ("one for each", written | {"images": ["pictures", 0], "text": "bluer\nredder"}, 2),
    ):
        graph["prompts"] = node("TreeGRPO_Prompts", **inputs)
        counted = {key: graph[key] for key in ("model", "prompts", "pictures")}
        history = server.run(counted | {"count": node("PreviewAny", source=["prompts", 1])})
        assert history.error is None, name
        assert history.outputs["count"]["text"] == [str(count)], name
    assert "prompts: this model does not look at the pictures" in failure(server, graph)
    graph["prompts"]["inputs"]["text"] = "a\nb\nc"
    assert "images: there are 2 pictures and 3 instructions" in failure(server, graph)
    del graph["prompts"]["inputs"]["vae"]
    graph["prompts"]["inputs"]["text"] = "a"
    assert "vae: the pictures have to be encoded" in failure(server, graph)


def test_prompts_from_a_file_in_the_input_folder(server):
    (server.base / "input" / "mine.txt").write_text("# mine\nbear\n\nfrog\nbear\n")
    graph = foundation()
    graph["prompts"] = node("TreeGRPO_Prompts", clip=["model", 1], text="unused", file="mine.txt", negative="")
    graph["count"] = node("PreviewAny", source=["prompts", 1])
    assert server.run(graph).outputs["count"]["text"] == ["2"]
    (server.base / "input" / "mine.txt").write_text("bear\nfrog\nbell")
    assert server.run(graph).outputs["count"]["text"] == ["3"]
    (server.base / "input" / "table.JSONL").write_text('{"prompt": "bear", "tag": "x"}\n')
    graph["prompts"]["inputs"]["file"] = "table.JSONL"
    assert server.run(graph).outputs["count"]["text"] == ["1"]
    (server.base / "input" / "table.JSONL").write_bytes("café".encode("cp1252"))
    assert "is not in UTF-8; save it as UTF-8" in failure(server, graph)
    graph["prompts"]["inputs"]["file"] = "../../models/secret.txt"
    with pytest.raises(PromptRefused, match="not in"):
        server.run(graph)


def test_the_plan_tells_what_it_costs(server):
    graph = foundation()
    graph["plan"]["inputs"] |= {"policy": ["policy", 0], "prompts": ["prompts", 0]}
    graph["leaves"] = node("PreviewAny", source=["plan", 1])
    history = server.run(graph)
    assert history.outputs["leaves"]["text"] == ["4"]
    text = history.outputs["plan"]["text"][0]
    first, second = text.splitlines()
    assert first.startswith("4 leaves for ")
    assert re.fullmatch(r"up to [\d.]+ s a prompt, \d+ MiB a picture", second)
    assert max(len(first), len(second)) <= 45


@pytest.mark.parametrize(
    ("method", "text"),
    [
        ({"method": "flow_grpo", "method__rollouts": 6}, "6 leaves for 24 evaluations"),
        (
            {"method": "branchgrpo", "method__branch": 2, "method__splits": 2, "method__roots": 1},
            "4 leaves for 7 evaluations, not 16",
        ),
    ],
)
def test_methods_name_their_sizes_as_their_authors_do(server, method, text):
    plan = {key: value for key, value in foundation()["plan"]["inputs"].items() if not key.startswith("method")}
    history = server.run(
        {"plan": node("TreeGRPO_Plan", **plan, **method), "leaves": node("PreviewAny", source=["plan", 1])}
    )
    assert history.outputs["plan"]["text"] == [text]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        *(
            (name, "use letters, digits, blanks, points, - and _")
            for name in ("../elsewhere", "a/b", "C:\\x", "nul\0l")
        ),
        *((name, "it is empty; write one") for name in ("", "  ")),
        *((name, "begin it with a letter or a digit") for name in (".hidden", "-x", " x")),
        *((name, "Windows drops the point or blank at its end") for name in ("x.", "x ")),
        *((name, "Windows keeps it for a device") for name in ("con", "Nul.txt", "COM¹")),
        *((name, "it is longer than 100 letters, or than file systems take") for name in ("x" * 101, "熊" * 80)),
        *((name, "a LoRA of the run 'x' may be called so; choose another end") for name in ("x-best", "x-000002")),
    ],
)
def test_a_name_that_no_run_can_have_is_refused_with_its_reason(server, name, reason):
    with pytest.raises(PromptRefused, match="cannot be the name of a run") as caught:
        server.run(training(name))
    assert reason in str(caught.value)


NO_PROMPTS = node("TreeGRPO_Prompts", clip=["model", 1], text="#", file="none", negative="")
NO_WEIGHTS = node(
    "TreeGRPO_Reward",
    reward="clipscore",
    reward__model="clip-vit-base-patch32",
    reward__template="{prompt}",
    weight=1.0,
)
LONG_WINDOW = copy.deepcopy(foundation()["plan"])
LONG_WINDOW["inputs"]["method.depth"] = 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"plan": LONG_WINDOW}, r"Plan: window: a window of 4 steps does not fit"),
        ({"prompts": NO_PROMPTS}, r"Prompts: text: there is no prompt in it"),
        ({"policy": foundation(rank=500)["policy"]}, r"Train: lora.rank: 500 is more than layer"),
        ({"policy": foundation(targets="lstm")["policy"]}, r"Train: lora.targets: .* layers are named like"),
        (
            {"reward": NO_WEIGHTS},
            r"Reward: rewards: .*config.json.*models/rewards/clip-vit-base-patch32.*hf download openai/",
        ),
        (training("bad", rewards__reward1=["reward", 0]), r"Train: rewards: clipscore is connected more than once"),
        (training("bad", evaluate_every=1), r"Train: heldout: nothing is connected"),
        (training("bad", watched=["reward", 0]), r"Train: watched: it judges held-out pictures, and none are drawn"),
        (
            training("bad", evaluate_every=1, heldout=["prompts", 0], watched=["reward", 0]),
            r"Train: watched rewards: clipscore is trained with the same options",
        ),
    ],
)
def test_bad_input_is_one_sentence_that_names_the_input(server, change, message):
    told = failure(server, training("bad") | change).strip()
    assert re.search(message, told), told
    assert "\n" not in told


def test_a_run_is_not_continued_with_other_settings(server):
    server.run(training("fixed", iterations=1))
    told = failure(server, training("fixed", iterations=2, weighting="steps"))
    assert "update.weighting = 'edges' and is to go on with 'steps'" in told
    assert len(metrics(server, "fixed")) == 1
    assert server.run(training("fixed", iterations=2, learning_rate=2e-3)).error is None
    assert [row["pace"]["learning_rate"] for row in metrics(server, "fixed")] == [1e-3, 2e-3]


def test_clip_and_vae_of_other_models_are_refused(server):
    folder = server.base / "models" / "checkpoints"
    path = checkpoints.sd15(folder)
    graph = training("foreign")
    graph["other"] = node("CheckpointLoaderSimple", ckpt_name=path.name)
    graph["train"]["inputs"]["vae"] = ["other", 2]
    assert "vae: it has 4 latent channels and the model 16" in failure(server, graph)
    graph["train"]["inputs"]["vae"] = ["model", 2]
    graph["prompts"]["inputs"]["clip"] = ["other", 1]
    assert "clip: the checkpoint brings no CLIP" in failure(server, graph)
    graph["prompts"]["inputs"]["clip"] = ["model", 1]
    graph["policy"]["inputs"]["model"] = ["other", 0]
    graph["train"]["inputs"]["vae"] = ["other", 2]
    assert "prompts: this model cannot take their conditioning" in failure(server, graph)


def test_a_lora_is_continued_and_a_foreign_one_is_not(server):
    server.run(training("first", iterations=1))
    graph = training("second", iterations=1)
    graph["policy"] = foundation(continue_from="treegrpo/first.safetensors")["policy"]
    assert server.run(graph).error is None
    one, other = lora(server, "first"), lora(server, "second")
    assert any(not torch.equal(one[name], other[name]) for name in one)
