"""Reward: what a picture is worth."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from comfy_api.latest import io

from ..treegrpo.backends.comfy.reward_host import reward_host
from ..treegrpo.errors import UsageError
from ..treegrpo.rewards.clipscore import ClipScore
from ..treegrpo.rewards.human_votes import RANGES, HumanVotes
from ..treegrpo.rewards.registry import create
from ..treegrpo.rewards.reward import Reward as RewardProtocol
from ..treegrpo.rewards.reward import Rewards
from ..treegrpo.rewards.vlm_judge import RUBRIC
from ..treegrpo.training.config import RewardTable, make_table
from .ballots import BOX
from .sockets import CATEGORY, RewardSocket, RewardValue
from .trusted_hosts import check_trusted

BUNDLED = "emoji (bundled)"
CLIP_MODELS = ("clip-vit-base-patch32", "clip-vit-large-patch14")


def _options() -> dict[str, list[io.Input]]:
    """The rewards that this node makes, each with the widgets of its options."""
    token = io.String.Input(
        "token_variable",
        default="",
        tooltip="Name of an environment variable, TREEGRPO_..., that holds a token for the server; never the token.",
    )
    seconds = io.Float.Input("timeout_seconds", default=60.0, min=0.1, max=3600.0, tooltip="For one request.")
    return {
        "clipscore": [
            io.Combo.Input("model", options=[BUNDLED, *CLIP_MODELS], tooltip="A CLIP model in models/rewards."),
            io.String.Input(
                "template",
                default="{prompt}",
                tooltip='What the picture is compared with; "{prompt}, ink style" asks for a style that the prompts '
                "themselves do not name.",
            ),
        ],
        "hpsv2.1": [],
        "hpsv2": [],
        "pickscore": [],
        "imagereward": [],
        "aesthetic": [],
        "human_votes": [
            io.Combo.Input("how", options=list(RANGES), tooltip="Stars from 1 to 5, thumbs up and down, or an order."),
            io.Float.Input(
                "timeout_minutes",
                default=0.0,
                min=0.0,
                max=10_000.0,
                step=0.5,
                tooltip="Prompts not voted on by then are left out; 0 waits for ever.",
            ),
        ],
        "ocr": [],
        "brisque": [],
        "brightness": [],
        "contrast": [],
        "saturation": [],
        "colourfulness": [],
        "palette": [
            io.String.Input(
                "colours",
                default="#e63946, #f1faee, #1d3557",
                tooltip="As #rrggbb or by name, parted by commas. Each is asked for.",
            ),
        ],
        "sharpness": [],
        "symmetry": [],
        "jpeg_compressibility": [],
        "jpeg_incompressibility": [],
        "http": [
            io.String.Input(
                "url",
                default="",
                tooltip="Where pictures and prompts are sent; a host elsewhere must be in models/rewards/hosts.txt.",
            ),
            token,
            seconds,
            io.Int.Input("retries", default=2, min=0, max=10, tooltip="After failures that may pass."),
            io.Int.Input("batch", default=16, min=1, max=1024, tooltip="Pictures per request."),
        ],
        "vlm_judge": [
            io.String.Input(
                "url", default="", tooltip="Base address of a server with the OpenAI chat protocol, ending in /v1."
            ),
            io.String.Input("model", default="", tooltip="As the server calls it."),
            io.String.Input(
                "rubric", default=RUBRIC, multiline=True, tooltip="What is judged, and that the answer is 0 to 10."
            ),
            token,
            seconds,
            io.Int.Input("concurrency", default=4, min=1, max=64, tooltip="Requests at a time."),
        ],
    }


class Reward(io.ComfyNode):
    """Names a reward and its weight."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """See io.ComfyNode."""
        return io.Schema(
            node_id="TreeGRPO_Reward",
            display_name="TreeGRPO Reward",
            category=CATEGORY,
            description="One judge of pictures, with its weight. Connect as many as you like.",
            search_aliases=[
                "hps",
                "pickscore",
                "clipscore",
                "imagereward",
                "aesthetic",
                "taste",
                "votes",
                "vlm",
                "judge",
            ],
            inputs=[
                io.DynamicCombo.Input(
                    "reward",
                    options=[io.DynamicCombo.Option(name, widgets) for name, widgets in _options().items()],
                    tooltip="clipscore: agreement with words. hpsv2, pickscore, imagereward: what people prefer. "
                    "aesthetic: what people find beautiful. human_votes: yours; training waits for them. ocr: the "
                    "words in quotes. palette: your colours. jpeg: plainer or busier pictures. brightness and the "
                    "like: what they say. http, vlm_judge: what a server of yours answers.",
                ),
                io.Float.Input("weight", default=1.0, min=-10.0, max=10.0, step=0.05, tooltip="Its share in the mix."),
            ],
            outputs=[RewardSocket.Output(display_name="reward", tooltip="For Train or Score.")],
        )

    @classmethod
    def execute(cls, reward: dict[str, Any], weight: float) -> io.NodeOutput:
        """See io.ComfyNode. Raises UsageError when the reward's weights are missing."""
        options = {key: value for key, value in reward.items() if key != "reward"}
        table = make_table(RewardTable, name=reward["reward"], weight=weight, options=options)
        if "url" in options:
            check_trusted(options["url"], options["token_variable"])
        made = None if table.name == HumanVotes.name else _made(table.name, json.dumps(options, sort_keys=True))
        return io.NodeOutput(RewardValue(table, made))


def rewards_input() -> io.Input:
    """The input of a node that takes any number of rewards."""
    tooltip = "What is better; from Reward. A free socket appears for the next one."
    socket = RewardSocket.Input("reward", tooltip=tooltip)
    template = io.Autogrow.TemplatePrefix(socket, prefix="reward", min=1, max=16)
    return io.Autogrow.Input("rewards", template=template, tooltip=tooltip)


def built(values: Mapping[str, RewardValue], votes: Path) -> Rewards:
    """The rewards behind the sockets of `rewards_input`, with their weights.

    votes: the folder that keeps a person's votes. Raises UsageError when there are no rewards, or two of one name,
    under which a tree would keep the scores of one only.
    """
    connected = [value for value in values.values() if value is not None]
    if not connected:
        raise UsageError("rewards: nothing is connected; connect at least one Reward.")
    names = [value.table.name for value in connected]
    if repeated := next((name for name in names if names.count(name) > 1), None):
        raise UsageError(f"rewards: {repeated} is connected more than once; connect each reward once.")
    return [(value.reward or _votes(value.table, votes), value.table.weight) for value in connected]


def _votes(table: RewardTable, folder: Path) -> RewardProtocol:
    return create(table.name, folder=folder, ask=BOX.ask, **table.options)


@functools.lru_cache(maxsize=4)
def _made(name: str, options: str) -> RewardProtocol:
    """The reward itself, loaded once: another weight in the node does not load it again."""
    settings = json.loads(options)
    if name == ClipScore.name:
        model = settings["model"]
        settings["model"] = None if model == BUNDLED else f"openai/{model}"
    with torch.inference_mode(False):
        return create(name, reward_host(), **settings)
