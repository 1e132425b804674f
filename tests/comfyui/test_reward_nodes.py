"""Every reward as a node of the real server, on small weights in its models folder."""

from __future__ import annotations

import shutil
from typing import Any

import numpy as np
import pytest
import torch
from aiohttp import web
from PIL import Image
from safetensors.torch import save_file
from transformers import CLIPConfig

from tests.comfyui import checkpoints
from tests.comfyui.graphs import foundation, node, one_iteration
from tests.comfyui.server import PromptRefused, Server
from tests.rewards.answering import answering
from treegrpo.bundled import EMOJI_CLIP
from treegrpo.rewards.linear_head import linear_head

WITHOUT_WEIGHTS = (
    *("brightness", "colourfulness", "contrast", "jpeg_compressibility", "jpeg_incompressibility", "saturation"),
    *("sharpness", "symmetry"),
)


@pytest.fixture(scope="module", autouse=True)
def _weights(server: Server) -> None:
    """The bundled CLIP model in the place of the large ones: the code reads the size from the folder."""
    folder = server.base / "models" / "rewards"
    for name in ("clip-vit-large-patch14", "PickScore_v1"):
        shutil.copytree(EMOJI_CLIP, folder / name, dirs_exist_ok=True)
    torch.manual_seed(0)
    width = CLIPConfig.from_pretrained(EMOJI_CLIP).projection_dim
    state = {f"layers.{name}": weight for name, weight in linear_head(width).state_dict().items()}
    torch.save(state, folder / "aesthetic-model.pth")


def scored(server: Server, reward: dict[str, Any], **others: dict[str, Any]) -> str:
    """What Score says of a small tree."""
    graph = one_iteration() | {"reward": reward} | others
    for unused in ("advantage", "update", "preview", "save"):
        del graph[unused]
    graph["shown"] = node("TreeGRPO_PreviewTree", tree=["score", 0], prompt=0)
    history = server.run(graph)
    if history.error:
        return f"{history.error['node_type']}: {history.error['exception_message'].strip()}"
    return history.outputs["score"]["text"][0]


def reward(name: str, **options: Any) -> dict[str, Any]:
    return node(
        "TreeGRPO_Reward", reward=name, weight=1.0, **{f"reward__{key}": value for key, value in options.items()}
    )


@pytest.mark.parametrize("name", ["pickscore", "aesthetic", *WITHOUT_WEIGHTS])
def test_rewards_without_options_score(server, name):
    assert scored(server, reward(name)).startswith(f"{name}: ")


def test_a_missing_package_is_a_sentence(server):
    assert "pip install --no-deps brisque" in scored(server, reward("brisque"))


def test_text_is_read_where_the_prompt_has_it_in_quotes(server):
    said = node("TreeGRPO_Prompts", clip=["model", 1], text='bear with a sign, "OPEN"', file="none", negative="")
    assert scored(server, reward("ocr"), prompts=said).startswith("ocr: ")
    told = scored(server, reward("ocr"))
    assert told.startswith('TreeGRPO_Score: rewards: ocr finds no text in quotes in any prompt, such as "')


def test_a_palette_has_colours(server):
    assert scored(server, reward("palette", colours="black, white")).startswith("palette: -")
    assert 'palette.colours: "#nothing" is not a colour' in scored(server, reward("palette", colours="#nothing"))


def test_clipscore_reads_the_models_folder(server):
    bundled = scored(server, reward("clipscore", model="emoji (bundled)", template="{prompt}"))
    copied = scored(server, reward("clipscore", model="clip-vit-large-patch14", template="{prompt}"))
    assert bundled.startswith("clipscore: ")
    assert copied == bundled


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("hpsv2", "HPS_v2_compressed.pt"),
        ("hpsv2.1", "HPS_v2.1_compressed.pt"),
        ("imagereward", "ImageReward.pt"),
    ],
)
def test_missing_weights_say_what_to_do(server, name, file):
    told = scored(server, reward(name))
    assert told.startswith("TreeGRPO_Reward: rewards: ")
    assert file in told
    assert str(server.base / "models" / "rewards") in told
    assert f"treegrpo rewards pull {name} --folder" in told


def test_a_checkpoint_of_another_architecture_is_a_sentence(server):
    file = server.base / "models" / "rewards" / "HPS_v2_compressed.safetensors"
    save_file({"logit_scale": torch.zeros(3)}, file)
    try:
        assert "is not a checkpoint of CLIP ViT-H/14" in scored(server, reward("hpsv2"))
    finally:
        file.unlink()


def test_a_judge_on_a_server(server):
    async def answer(request: web.Request) -> web.Response:
        if request.path.endswith("/chat/completions"):
            return web.json_response({"choices": [{"message": {"content": '{"score": 7}'}}]})
        return web.json_response({"scores": [0.25] * len((await request.json())["images"])})

    options = {"token_variable": "", "timeout_seconds": 10.0}
    with answering(answer) as address:
        plain = reward("http", url=address, retries=0, batch=3, **options)
        assert scored(server, plain).startswith("http: 0.2500, spread 0.0000")
        judge = reward("vlm_judge", url=f"{address}/v1", model="any", rubric="0 to 10?", concurrency=2, **options)
        assert scored(server, judge).startswith("vlm_judge: 0.7000, spread 0.0000")
    wrong = reward("http", url="file:///etc/passwd", retries=0, batch=3, **options)
    assert "http" in (told := scored(server, wrong))
    assert told.startswith("TreeGRPO_Reward: ")


def test_a_workflow_reaches_no_server_that_the_user_has_not_listed(server):
    options = {"timeout_seconds": 0.2, "retries": 0, "batch": 16}
    hosts = server.base / "models" / "rewards" / "hosts.txt"
    elsewhere = reward("http", url="http://judge.invalid/score", token_variable="", **options)
    told = scored(server, elsewhere)
    assert '"judge.invalid" is not a host that you have allowed' in told
    assert str(hosts) in told
    hosts.write_text("judge.invalid\n")
    try:
        assert scored(server, elsewhere).startswith("TreeGRPO_Score: "), "it is asked, and is not there"
    finally:
        hosts.unlink()
    spying = reward("http", url="http://localhost:9", token_variable="PATH", **options)
    assert "only variables whose names begin with TREEGRPO_" in scored(server, spying)


def test_a_moodboard_of_stock_nodes(server):
    clip_vision = checkpoints.clip_vision(server.base / "models" / "clip_vision").name
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    (server.base / "input").mkdir(exist_ok=True)
    Image.fromarray(pixels).save(server.base / "input" / "board.png")
    few = foundation()  # an encoder of that size takes seconds for a picture
    few["plan"]["inputs"]["method.depth"] = 1
    few["prompts"]["inputs"]["text"] = "bear"
    others = {
        "plan": few["plan"],
        "prompts": few["prompts"],
        "encoder": node("CLIPVisionLoader", clip_name=clip_vision),
        "board": node("LoadImage", image="board.png"),
    }
    inputs = {"clip_vision": ["encoder", 0], "images": ["board", 0], "reward": "unlike_images", "weight": 1.0}
    unlike = scored(server, node("TreeGRPO_Moodboard", **inputs), **others)
    assert unlike.startswith("unlike_images: ")
    # To random weights all pictures are alike.
    assert -1 <= float(unlike.split(": ")[1].split(",")[0]) < -0.5


def test_what_no_widget_can_say_is_refused(server):
    with pytest.raises(PromptRefused, match="not in"):
        scored(server, reward("clipscore", model="../../secret", template="{prompt}"))
