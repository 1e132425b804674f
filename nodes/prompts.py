"""Prompts: a list of texts, or of pictures and what to change in them, encoded once."""

from __future__ import annotations

from typing import Any

import torch
from comfy_api.latest import io
from torch import Tensor

from ..treegrpo.backends.comfy.conditioning import Conditioning
from ..treegrpo.backends.comfy.policy import Prompts
from ..treegrpo.errors import UsageError
from ..treegrpo.pictures.instruction import Instruction, reference_of
from . import prompt_files
from .encoding import EncodedOnce, encoded
from .say import say
from .sockets import CATEGORY, PromptsSocket


class PromptList(io.ComfyNode):
    """Encodes prompts for training or for judging."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """See io.ComfyNode."""
        return io.Schema(
            node_id="TreeGRPO_Prompts",
            display_name="TreeGRPO Prompts",
            category=CATEGORY,
            description="The prompts that a LoRA is trained on (or judged on), encoded once. For edit models, connect "
            "pictures and a VAE, and write what to change.",
            search_aliases=["prompt list", "training prompts", "captions", "edit", "kontext", "instructions"],
            is_input_list=True,
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
                    options=prompt_files.choices(),
                    tooltip="A text file or table in ComfyUI's input folder, read instead of the text; or a folder "
                    "there of pictures to change, each with its words in a text file of the same name.",
                ),
                io.String.Input("negative", default="", tooltip="The negative prompt of all; unused where cfg is 1."),
                io.Conditioning.Input(
                    "positive_like",
                    optional=True,
                    tooltip="What this conditioning carries beside its text (a ControlNet, Flux guidance, an area) "
                    "is put on every prompt.",
                ),
                io.Conditioning.Input("negative_like", optional=True, tooltip="The same for the negative prompt."),
                io.Image.Input(
                    "images",
                    optional=True,
                    tooltip="For edit models: the pictures to change, one for every line, or one for all.",
                ),
                io.Vae.Input("vae", optional=True, tooltip="For edit models: encodes the pictures to change."),
            ],
            outputs=[
                PromptsSocket.Output(display_name="prompts", tooltip="For Train, Sample Tree or Tree Plan."),
                io.Int.Output(display_name="count", tooltip="How many prompts there are."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def execute(cls, **given: list[Any]) -> io.NodeOutput:
        """See io.ComfyNode. Raises UsageError for an empty list, for a checkpoint without CLIP, and for pictures that
        do not go with the words or have no VAE."""
        images = [picture for batch in given.pop("images", []) if batch is not None for picture in batch]
        text = "\n".join(given.pop("text"))
        return cls._encode(text=text, images=images, **{key: value for key, [value, *_] in given.items()})

    @classmethod
    def _encode(
        cls,
        clip: Any,
        text: str,
        file: str,
        negative: str,
        images: list[Tensor],
        positive_like: Conditioning | None = None,
        negative_like: Conditioning | None = None,
        vae: Any = None,
    ) -> io.NodeOutput:
        if clip is None:
            raise UsageError("clip: the checkpoint brings no CLIP; load one with Load CLIP and connect it.")
        texts = prompt_files.read(text, file, images)
        changing = [prompt for prompt in texts if isinstance(prompt, Instruction)]
        if vae is None and changing:
            raise UsageError("vae: the pictures have to be encoded; connect the VAE that belongs to the model.")
        once = EncodedOnce(vae)
        with torch.inference_mode(False), torch.no_grad():

            def opposite(picture: Tensor | None) -> Conditioning:
                return _like(negative_like, encoded(clip, negative, picture, once))

            positive = {
                prompt: _like(positive_like, encoded(clip, str(prompt), reference_of(prompt), once)) for prompt in texts
            }
            pictures = {prompt.digest: prompt.reference for prompt in changing}
            opposites = {digest: opposite(picture) for digest, picture in pictures.items()}
            prompts = Prompts(positive, opposite(None), {prompt: opposites[prompt.digest] for prompt in changing})
        say(f"{len(texts)} prompts", cls.hidden.unique_id)
        return io.NodeOutput(prompts, len(texts))

    @classmethod
    def fingerprint_inputs(cls, text: list[str | None], file: list[str | None], **_: Any) -> str | None:
        """A file counts by its content."""
        return prompt_files.fingerprint(text[0], file[0])


def _like(example: Conditioning | None, plain: Conditioning) -> Conditioning:
    """`plain` with everything that the example carries beside its text."""
    if example is None:
        return plain
    own = {"pooled_output"}
    return [
        [words, {**{key: value for key, value in extras.items() if key not in own}, **more}]
        for _, extras in example
        for words, more in plain
    ]
