"""Arguments that several commands take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ..errors import UsageError
from ..method.plan import STEP_LIMIT

Out = Annotated[Path, typer.Option("--out", help="Folder for what the command writes.")]
ModelPath = Annotated[
    str | None, typer.Option("--model", help="A diffusers folder, hub id (downloaded) or checkpoint file.")
]
RunConfig = Annotated[
    Path | None,
    typer.Option("--config", help="The TOML file of a run, instead of a model: draw in its size, precision and steps."),
]
Lora = Annotated[Path | None, typer.Option("--lora", help="A lora.safetensors that a run has written.")]
Prompts = Annotated[Path, typer.Option("--prompts", help="A text file, one prompt a line, a table or a folder.")]
Steps = Annotated[
    int | None, typer.Option("--steps", min=1, max=STEP_LIMIT, help="Denoising steps; the config's or 10 if left out.")
]
Guidance = Annotated[
    float | None,
    typer.Option("--guidance", min=0, help="Classifier-free guidance; the config's or 1, which is off, if left out."),
]
SequenceLength = Annotated[
    int | None, typer.Option("--max-sequence-length", min=1, help="T5 tokens; the config's or 256 if left out.")
]
Seed = Annotated[int, typer.Option("--seed", min=-(2**63), max=2**63 - 1, help="Seed of the noise.")]
RewardName = Annotated[str, typer.Option("--reward", help="A reward; an unknown name lists the known ones.")]
Options = Annotated[
    list[str] | None, typer.Option("--option", help='An option of the reward: "template={prompt}, ink style".')
]

RewardsFolder = Annotated[
    Path | None,
    typer.Option("--folder", help="A folder such as ComfyUI's models/rewards; or else the Hugging Face cache."),
]


def settings(pairs: list[str] | None) -> dict[str, str]:
    """Settings from "name=value" pairs."""
    for pair in pairs or []:
        if "=" not in pair:
            raise UsageError(f'--option: "{pair}" has no "="; write name=value.')
    return dict(pair.split("=", 1) for pair in pairs or [])
