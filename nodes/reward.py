"""Reward: what a picture is worth."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import comfy.model_management as management
import folder_paths
from comfy_api.latest import io

from ..treegrpo.config import RewardTable, make_table
from ..treegrpo.errors import UsageError
from ..treegrpo.iteration import Rewards
from ..treegrpo.rewards.host import Host
from ..treegrpo.rewards.human_votes import RANGES, HumanVotes
from ..treegrpo.rewards.registry import create
from ..treegrpo.rewards.reward import Reward as RewardProtocol
from .ballots import BOX
from .sockets import CATEGORY, RewardSocket, RewardValue

BUNDLED = "emoji (bundled)"
CLIP_MODELS = ("clip-vit-base-patch32", "clip-vit-large-patch14")
FOLDER = "rewards"
folder_paths.add_model_folder_path(FOLDER, str(Path(folder_paths.models_dir) / FOLDER))


class Reward(io.ComfyNode):
    """Names a reward and its weight."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """See io.ComfyNode."""
        clipscore = [
            io.Combo.Input("model", options=[BUNDLED, *CLIP_MODELS], tooltip="A CLIP model in models/rewards."),
            io.String.Input(
                "template",
                default="{prompt}",
                tooltip='What the picture is compared with; "{prompt}, ink style" asks for a style that the prompts '
                "themselves do not name.",
            ),
        ]
        votes = [
            io.Combo.Input("how", options=list(RANGES), tooltip="Stars from 1 to 5, thumbs up and down, or an order."),
            io.Float.Input(
                "timeout_minutes",
                default=0.0,
                min=0.0,
                max=10_000.0,
                step=0.5,
                tooltip="Prompts not voted on by then are left out; 0 waits for ever.",
            ),
        ]
        option = io.DynamicCombo.Option
        return io.Schema(
            node_id="TreeGRPO_Reward",
            display_name="TreeGRPO Reward",
            category=CATEGORY,
            description="One judge of pictures, with its weight. Connect as many as you like.",
            search_aliases=["clipscore", "aesthetic", "taste", "votes", "stars", "jpeg", "judge"],
            inputs=[
                io.DynamicCombo.Input(
                    "reward",
                    options=[
                        option("clipscore", clipscore),
                        option("human_votes", votes),
                        option("jpeg_compressibility", []),
                        option("jpeg_incompressibility", []),
                    ],
                    tooltip="clipscore: agreement with words, by a CLIP model. human_votes: yours; training waits for "
                    "them. jpeg: plainer or busier pictures.",
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
        if table.name != HumanVotes.name:
            _created(table.name, json.dumps(options, sort_keys=True))
        return io.NodeOutput(RewardValue(table))


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
    tables = [value.table for value in values.values() if value is not None]
    if not tables:
        raise UsageError("rewards: nothing is connected; connect at least one Reward.")
    names = [table.name for table in tables]
    if repeated := next((name for name in names if names.count(name) > 1), None):
        raise UsageError(f"rewards: {repeated} is connected more than once; connect each reward once.")
    return [(_built(table, votes), table.weight) for table in tables]


def _built(table: RewardTable, votes: Path) -> RewardProtocol:
    if table.name == HumanVotes.name:
        return create(table.name, folder=votes, ask=BOX.ask, **table.options)
    return _created(table.name, json.dumps(table.options, sort_keys=True))


@functools.lru_cache(maxsize=8)
def _created(name: str, options: str) -> RewardProtocol:
    """The reward itself; loaded once."""
    settings = json.loads(options)
    if name == "clipscore":
        settings["model"] = _clip_folder(settings["model"])
    return create(name, Host(management.get_torch_device()), **settings)


def _clip_folder(model: str) -> str | None:
    """The folder of a CLIP model. Raises UsageError that says what to put where when it is not there."""
    if model == BUNDLED:
        return None
    for folder in folder_paths.get_folder_paths(FOLDER):
        if (Path(folder) / model / "config.json").is_file():
            return str(Path(folder) / model)
    raise UsageError(
        f'model: "{model}" is not there; download config.json, model.safetensors, preprocessor_config.json, vocab.json '
        f"and merges.txt of openai/{model} from Hugging Face into models/{FOLDER}/{model}."
    )
