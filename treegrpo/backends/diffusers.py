"""Policy on a diffusers pipeline: peft holds the LoRA, accelerate chooses the device."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import PartialState
from diffusers import DiffusionPipeline
from peft import LoraConfig, get_peft_model_state_dict, inject_adapter_in_model, set_peft_model_state_dict
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor

from ..errors import UsageError
from ..memory.live_bytes import peak_bytes, training_bytes
from ..method.process import Path
from ..pictures.instruction import Instruction, reference_of
from .adapter_precision import compute_like_input
from .adapter_state import check_fits
from .encoded_texts import EncodedTexts
from .families.family import VaryingCalls, file_state
from .families.registry import FAMILIES
from .pipeline_file import load_pipeline
from .placement import Placement
from .quantised import quantise
from .temporarily import temporarily


@dataclass(frozen=True)
class LoraSettings:
    """rank, and alpha that scales the adapter by alpha / rank. targets: a preset or endings of module names."""

    rank: int = 8
    alpha: float = 8.0
    targets: str | Sequence[str] = "attention"
    seed: int = 0


@dataclass(frozen=True)
class Economy:
    """What a run gives up for memory, or takes for speed; see docs/configuration.md, [model].

    gradient_checkpointing: blocks are computed again in the backward pass. offload: text encoders and VAE are on the
    device only while they work. tiled_decode: pictures are decoded in overlapping tiles. weights: "int8" or "float8"
    for the frozen linear layers. fused_guidance: both halves of guidance share a network call. compile: blocks of the
    network are compiled.
    """

    gradient_checkpointing: bool = False
    offload: bool = False
    tiled_decode: bool = False
    weights: str | None = None
    fused_guidance: bool = True
    compile: bool = False


class DiffusersPolicy:
    """A diffusers pipeline with a trainable LoRA; implements policy.Policy.

    guidance: classifier-free guidance scale of pictures; 1 runs the network once per image instead of twice. Distilled
    models (FLUX) read it as an input and always run once. training_guidance: that of rollouts and updates, if another.
    max_sequence_length: tokens of T5 or Qwen, as in diffusers' own call (SD3 without T5 gets as many zero tokens).
    sharded: the frozen weights of the network are spread over all processes of torch.distributed, see sharding.py.
    """

    def __init__(
        self,
        pipeline: DiffusionPipeline,
        lora: LoraSettings = LoraSettings(),
        guidance: float = 1.0,
        training_guidance: float | None = None,
        negative_prompt: str = "",
        height: int | None = None,
        width: int | None = None,
        max_sequence_length: int = 256,
        economy: Economy = Economy(),
        device: torch.device = torch.device("cpu"),
        sharded: bool = False,
    ) -> None:
        kind = type(pipeline).__name__
        if kind not in FAMILIES:
            raise UsageError(f"model.path: {kind} is not supported; supported pipelines: {', '.join(FAMILIES)}.")
        self.family = FAMILIES[kind]
        self.path: Path = self.family.PATH
        self.distilled: bool = self.family.DISTILLED or pipeline.config.get("is_distilled", False)
        self.pipeline = pipeline
        self.device = device
        self.sharded = sharded
        self.drawing_guidance = guidance
        self.guidance = guidance if training_guidance is None else training_guidance
        self.negative_prompt = negative_prompt
        side = self.family.native_size(pipeline)
        self.latent_shape = self.family.latent_shape(pipeline, height or side, width or side)
        self.lora = lora
        self.economy = economy
        self.network = getattr(pipeline, self.family.NETWORK)
        for module in pipeline.components.values():
            if isinstance(module, torch.nn.Module):
                module.requires_grad_(False).eval()
        if self.network.dtype == torch.float16 and pipeline.vae.config.get("force_upcast"):
            pipeline.vae.float()  # SDXL's overflows in float16, and says so
        if sharded and (economy.weights or economy.compile):
            raise UsageError(
                "model.weights and model.compile: a network that is spread over processes has neither; leave them out, "
                "or launch without FSDP."
            )
        if sharded and isinstance(self.family, VaryingCalls):
            raise UsageError(
                f"model.path: {self.family.NAMES} takes a network call {self.family.CALLS_VARY}, and processes that "
                "share a network have to make equally many; launch without FSDP."
            )
        if economy.weights:
            quantise(self.network, economy.weights)
        self._add_adapter()
        if sharded:
            from .sharding import shard  # torch is built without its distributed part on some machines

            shard(self.network, self.family.BLOCKS, self.parameters(), device)
        self.placement = Placement(pipeline, self.network, device, economy.offload, sharded)
        self.texts = EncodedTexts(self.family, pipeline, self.placement, max_sequence_length)
        if economy.tiled_decode:
            pipeline.vae.enable_tiling()
        if economy.gradient_checkpointing:
            self.network.enable_gradient_checkpointing()
        if economy.compile:
            self.compile_blocks()

    def compile_blocks(self, wanted: bool = True) -> None:
        """Have the network's blocks compiled when they first run, or run as they are."""
        for module in self.network.modules():
            if type(module).__name__ in self.family.BLOCKS:
                if wanted:
                    module.compile()
                else:
                    module._compiled_call_impl = None

    @property
    def dtype(self) -> torch.dtype:
        """What the network computes in."""
        return self.network.dtype

    @property
    def decoder(self) -> str:
        """See Policy.decoder."""
        dtype = str(self.pipeline.vae.dtype).removeprefix("torch.")
        return f'the VAE computes in {dtype}; set model.dtype = "bfloat16" or "float32"'

    def _add_adapter(self) -> None:
        targets = self.lora.targets
        if isinstance(targets, str):
            if targets not in self.family.TARGETS:
                known = ", ".join(self.family.TARGETS)
                raise UsageError(
                    f'lora.targets: "{targets}" is unknown; choose {known} or list endings of module names.'
                )
            targets = self.family.TARGETS[targets]
        config = LoraConfig(r=self.lora.rank, lora_alpha=self.lora.alpha, target_modules=list(targets))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.lora.seed)
            try:
                inject_adapter_in_model(config, self.network)  # PixArt's network has no add_adapter of its own
            except ValueError as error:
                raise UsageError(f"lora.targets: {error}") from error
        for parameter in self.parameters():
            parameter.data = parameter.data.float()
        compute_like_input(self.network)

    def sigmas(self, steps: int) -> Tensor:
        """See Policy.sigmas."""
        return self.family.sigmas(self.pipeline, steps, self.latent_shape)

    def initial_noise(self, count: int, sigma: float, generator: torch.Generator) -> Tensor:
        """See Policy.initial_noise."""
        noise = torch.randn((count, *self.latent_shape), generator=generator)
        return (sigma * noise).to(self.device)

    def denoise(self, x: Tensor, sigma: float, prompts: Sequence[str], until: float = 0.0) -> Tensor:
        """See Policy.denoise; the conditional and unconditional halves of guidance share one batch."""
        wanted = torch.is_grad_enabled()
        # A compiled block has one graph with gradients and one without, which round differently; the rollout takes the
        # update's.
        with torch.set_grad_enabled(wanted or self.economy.compile):
            x0 = self._guided(x, sigma, list(prompts))
        return x0 if wanted else x0.detach()

    def _guided(self, x: Tensor, sigma: float, prompts: list[str]) -> Tensor:
        if self.guidance == 1 or self.distilled:
            return self._predict(x, sigma, prompts)
        negatives = [self._opposite(prompt) for prompt in prompts]
        if self.economy.fused_guidance:
            unconditional, conditional = self._predict(torch.cat([x, x]), sigma, prompts, negatives).chunk(2)
        else:
            unconditional, conditional = self._predict(x, sigma, [], negatives), self._predict(x, sigma, prompts)
        return self.family.guide(x, unconditional, conditional, self.guidance)

    def _predict(self, x: Tensor, sigma: float, prompts: list[str], negatives: Sequence[str] = ()) -> Tensor:
        groups = self.texts.conditioning(prompts, negatives)
        self.placement.bring_network()
        if len(groups) == 1:
            return self.family.predict(self.pipeline, x, sigma, groups[0][1], self.guidance)
        found = [self.family.predict(self.pipeline, x[rows], sigma, given, self.guidance) for rows, given in groups]
        return torch.cat(found)[torch.cat([rows for rows, _ in groups]).argsort()]

    def _opposite(self, prompt: str) -> str:
        """The negative prompt, which goes with the picture that the prompt changes, if there is one."""
        picture = reference_of(prompt)
        return self.negative_prompt if picture is None else Instruction(self.negative_prompt, picture)

    def drawing(self) -> AbstractContextManager[None]:
        """See Policy.drawing."""
        return temporarily(self, guidance=self.drawing_guidance)

    def training_bytes(self, x: Tensor, sigma: float, prompts: Sequence[str]) -> int:
        """See Policy.training_bytes; with guidance where pictures or training have any."""
        self.prepare(prompts)
        with self.drawing() if self.guidance == 1 else nullcontext():
            if self.sharded:
                self.denoise(x, sigma, prompts)  # the first time, room for the gathered weights is made, and kept
            return training_bytes(lambda: self.denoise(x, sigma, prompts), self.parameters()).peak

    def prepare(self, prompts: Sequence[str]) -> None:
        """See Policy.prepare."""
        guided = {self.guidance, self.drawing_guidance} != {1} and not self.distilled
        self.texts.conditioning(prompts, [self._opposite(prompt) for prompt in prompts] if guided else [])
        self.placement.bring_network()

    def decoding_bytes(self, latents: Tensor) -> int:
        """See Policy.decoding_bytes."""
        with torch.no_grad(), self.placement.vae():
            return peak_bytes(lambda: self.family.decode(self.pipeline, latents))

    def without_embeddings(self) -> AbstractContextManager[None]:
        """A context in which nothing has been encoded yet."""
        return temporarily(self.texts, encoded={})

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """See Policy.decode."""
        with self.placement.vae():
            images = self.family.decode(self.pipeline, latents)
        return images if images.is_meta else images.cpu()

    def parameters(self) -> list[torch.nn.Parameter]:
        """See Policy.parameters."""
        return [weight for name, weight in self.network.named_parameters() if "lora_" in name]

    @contextmanager
    def reference(self) -> Iterator[None]:
        """See Policy.reference."""
        self._enable_adapter(False)
        try:
            yield
        finally:
            self._enable_adapter(True)

    def _enable_adapter(self, wanted: bool) -> None:
        for layer in self.network.modules():
            if isinstance(layer, BaseTunerLayer):
                layer.enable_adapters(wanted)

    def adapter_state(self) -> dict[str, Tensor]:
        """See Policy.adapter_state; the names are those that diffusers and ComfyUI both read."""
        return file_state(self.family, self.pipeline, get_peft_model_state_dict(self.network))

    def load_adapter_state(self, state: dict[str, Tensor]) -> None:
        """See Policy.load_adapter_state."""
        self.placement.bring_network()  # an optimiser puts its moments where it finds the weights
        check_fits(state, self.adapter_state())
        own = get_peft_model_state_dict(self.network)
        set_peft_model_state_dict(self.network, {name: state[self.family.file_name(name)] for name in own})


def load(
    path: str,
    lora: LoraSettings,
    dtype: str | None = None,
    cpu: bool = False,
    config: str | None = None,
    **options: Any,
) -> DiffusersPolicy:
    """A policy on the pipeline at `path`; path and config as in pipeline_file.load_pipeline.

    dtype: "float32", "bfloat16" or "float16"; by default float32 on a CPU, else bfloat16.
    """
    device = PartialState(cpu=cpu).device
    pipeline = load_pipeline(path, dtype or ("float32" if device.type == "cpu" else "bfloat16"), config)
    pipeline.set_progress_bar_config(disable=True)
    return DiffusersPolicy(pipeline, lora, device=device, **options)
