"""Prompts: a list of texts, encoded once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import folder_paths
import torch
from comfy_api.latest import io

from ..treegrpo.backends.comfy.conditioning import Conditioning
from ..treegrpo.backends.comfy.policy import Prompts
from ..treegrpo.errors import UsageError
from ..treegrpo.training.prompt_list import prompt_lines
from .say import say
from .sockets import CATEGORY, PromptsSocket

NONE = "none"


class PromptList(io.ComfyNode):
    """Encodes prompts for training or for judging."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """See io.ComfyNode."""
        return io.Schema(
            node_id="TreeGRPO_Prompts",
            display_name="TreeGRPO Prompts",
            category=CATEGORY,
            description="The prompts that a LoRA is trained on (or judged on), encoded once.",
            search_aliases=["prompt list", "training prompts", "captions"],
            inputs=[
                io.Clip.Input("clip", tooltip="The CLIP that belongs to the model."),
                io.String.Input(
                    "text",
                    multiline=True,
                    default="bear\nfrog\nbell",
                    tooltip="One prompt a line; lines with # do not count.",
                ),
                io.Combo.Input(
                    "file",
                    options=[NONE, *_files()],
                    tooltip="A text file in ComfyUI's input folder, which is read instead of the text.",
                ),
                io.String.Input("negative", default="", tooltip="The negative prompt of all; unused where cfg is 1."),
                io.Conditioning.Input(
                    "positive_like",
                    optional=True,
                    tooltip="What this conditioning carries beside its text (a ControlNet, Flux guidance, an area) "
                    "is put on every prompt.",
                ),
                io.Conditioning.Input("negative_like", optional=True, tooltip="The same for the negative prompt."),
            ],
            outputs=[
                PromptsSocket.Output(display_name="prompts", tooltip="For Train, Sample Tree or Tree Plan."),
                io.Int.Output(display_name="count", tooltip="How many prompts there are."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(
        cls,
        clip: Any,
        text: str,
        file: str,
        negative: str,
        positive_like: Conditioning | None = None,
        negative_like: Conditioning | None = None,
    ) -> io.NodeOutput:
        """See io.ComfyNode. Raises UsageError for an empty list and for a checkpoint without CLIP."""
        if clip is None:
            raise UsageError("clip: the checkpoint brings no CLIP; load one with Load CLIP and connect it.")
        texts = prompt_lines(_lines(text, file))
        if not texts:
            raise UsageError(f"{'text' if file == NONE else 'file'}: there is no prompt in it; write one a line.")
        with torch.inference_mode(False), torch.no_grad():
            positive = {prompt: _like(positive_like, _encoded(clip, prompt)) for prompt in texts}
            prompts = Prompts(positive, _like(negative_like, _encoded(clip, negative)))
        say(f"{len(texts)} prompts", cls.hidden.unique_id)
        return io.NodeOutput(prompts, len(texts))

    @classmethod
    def fingerprint_inputs(cls, text: str | None, file: str | None, **_: Any) -> str | None:
        """A file counts by its content. What comes along a wire is None here, and counts by itself."""
        return _lines(text, file) if file is not None else None


def _files() -> list[str]:
    return sorted(file.name for file in Path(folder_paths.get_input_directory()).glob("*.txt"))


def _lines(text: str | None, file: str) -> str | None:
    if file == NONE:
        return text
    if file not in _files():
        raise UsageError(f'file: "{file}" is not a text file in ComfyUI\'s input folder; put it there.')
    return (Path(folder_paths.get_input_directory()) / file).read_text(encoding="utf-8")


def _encoded(clip: Any, text: str) -> Conditioning:
    return clip.encode_from_tokens_scheduled(clip.tokenize(text))


def _like(example: Conditioning | None, encoded: Conditioning) -> Conditioning:
    """`encoded` with everything that the example carries beside its text."""
    if example is None:
        return encoded
    own = {"pooled_output"}
    return [
        [words, {**{key: value for key, value in extras.items() if key not in own}, **more}]
        for _, extras in example
        for words, more in encoded
    ]
