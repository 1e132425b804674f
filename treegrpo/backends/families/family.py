"""What the diffusers backend asks of a model family. A family is a module with these names; see sd3.py."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from ...method.process import Path

Conditioning = tuple[Tensor, ...]
"""What the network is told about each prompt: tensors whose first dimension is the prompt."""


class Family(Protocol):
    """One model family in diffusers' layout. `pipeline` is always the diffusers pipeline object."""

    NAMES: str
    """The models, as people know them."""
    PATH: Path
    NETWORK: str
    """The pipeline's component that is trained."""
    TARGETS: dict[str, list[str]]
    """Names of adapter target presets -> endings of module names inside the denoiser."""
    DISTILLED: bool
    """Whether guidance is an input of the network, which then runs once per picture at any guidance."""
    BLOCKS: tuple[str, ...]
    """Class names of the blocks that the network repeats: what is compiled, or gathered when it is sharded."""

    def sigmas(self, pipeline: Any, steps: int, latent_shape: tuple[int, ...]) -> Tensor:
        """float32 [steps + 1] on the CPU, as the pipeline's own scheduler sets them for latents of this shape."""
        ...

    def latent_shape(self, pipeline: Any, height: int, width: int) -> tuple[int, ...]:
        """(C, H, W) of the latents of one picture of height x width pixels."""
        ...

    def native_size(self, pipeline: Any) -> int:
        """The side in pixels that the model was trained for."""
        ...

    def encode(self, pipeline: Any, texts: Sequence[str], max_sequence_length: int) -> Conditioning:
        """The conditioning of every text; see VaryingCalls where shapes depend on the texts."""
        ...

    def predict(self, pipeline: Any, x: Tensor, sigma: float, conditioning: Conditioning, guidance: float) -> Tensor:
        """x0 float32 [N, C, H, W], for states x float32 at one sigma; only distilled families look at guidance."""
        ...

    def guide(self, x: Tensor, unconditional: Tensor, conditional: Tensor, guidance: float) -> Tensor:
        """x0 with classifier-free guidance, from the two predictions at states x."""
        ...

    def decode(self, pipeline: Any, latents: Tensor) -> Tensor:
        """Images float32 [N, H, W, 3] in 0..1."""
        ...

    def file_name(self, weight: str) -> str:
        """The name in LoRA files, which diffusers and ComfyUI both read, of what peft calls <module>.lora_A.weight."""
        ...


@runtime_checkable
class OwnNegatives(Protocol):
    """A family whose pipeline puts an instruction before prompts, but not before what guidance leads away from."""

    def encode_negative(self, pipeline: Any, texts: Sequence[str], max_sequence_length: int) -> Conditioning:
        """As encode, of negative prompts; the shapes are the same."""
        ...


@runtime_checkable
class ChangesPictures(Protocol):
    """A family whose prompts say what to change in a picture."""

    def encode_picture(self, pipeline: Any, picture: Tensor) -> Tensor:
        """What the network is told about a picture float32 [H, W, 3] in 0..1: [1, ...], in the VAE's presence."""
        ...


@runtime_checkable
class VaryingCalls(Protocol):
    """A family whose conditioning has other shapes for other texts, which then go in network calls of their own."""

    CALLS_VARY: str
    """What decides on the shapes: "for every ..."."""


@runtime_checkable
class TwiceNamed(Protocol):
    """A family for which no name in LoRA files is known to diffusers and ComfyUI both."""

    def for_comfyui(self, pipeline: Any, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """What ComfyUI reads of the files of an adapter with this state; diffusers passes over it."""
        ...


def encode_all(
    family: Family, pipeline: Any, texts: Sequence[str], max_sequence_length: int, negative: bool
) -> Conditioning:
    """The conditioning of every text, as prompts or as negative prompts."""
    if negative and isinstance(family, OwnNegatives):
        return family.encode_negative(pipeline, texts, max_sequence_length)
    return family.encode(pipeline, texts, max_sequence_length)


def file_state(family: Family, pipeline: Any, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """What LoRA files hold of an adapter with these weights, under peft's names."""
    state = {family.file_name(name): weight.detach().cpu().clone() for name, weight in weights.items()}
    return {**state, **family.for_comfyui(pipeline, state)} if isinstance(family, TwiceNamed) else state
