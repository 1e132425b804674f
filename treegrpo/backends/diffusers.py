"""Policy on a diffusers pipeline: peft holds the LoRA, accelerate chooses device and precision."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import Accelerator, PartialState
from diffusers import DiffusionPipeline
from peft import LoraConfig, get_peft_model_state_dict, set_peft_model_state_dict
from torch import Tensor

from ..errors import UsageError
from ..memory import saved_bytes
from ..process import Path
from .adapter_state import check_fits
from .families import flux, qwen_image, sd3, sdxl, stable_diffusion
from .families.family import Conditioning, Family
from .pipeline_file import load_pipeline

FAMILIES: dict[str, Family] = {
    "StableDiffusionPipeline": stable_diffusion,
    "StableDiffusionXLPipeline": sdxl,
    "StableDiffusion3Pipeline": sd3,
    "FluxPipeline": flux,
    "QwenImagePipeline": qwen_image,
}
PRECISIONS = {"float32": "no", "bfloat16": "bf16"}


@dataclass(frozen=True)
class LoraSettings:
    """rank, and alpha that scales the adapter by alpha / rank. targets: a preset or endings of module names."""

    rank: int = 8
    alpha: float = 8.0
    targets: str | Sequence[str] = "attention"
    seed: int = 0


class DiffusersPolicy:
    """A diffusers pipeline with a trainable LoRA; implements policy.Policy.

    guidance: classifier-free guidance scale; 1 runs the network once per image instead of twice. Distilled models
    (FLUX) read it as an input and always run once.
    max_sequence_length: tokens of T5 or Qwen, as in diffusers' own call (SD3 without T5 gets as many zero tokens).
    """

    def __init__(
        self,
        pipeline: DiffusionPipeline,
        lora: LoraSettings = LoraSettings(),
        guidance: float = 1.0,
        negative_prompt: str = "",
        height: int | None = None,
        width: int | None = None,
        max_sequence_length: int = 256,
        gradient_checkpointing: bool = False,
        accelerator: Accelerator | None = None,
    ) -> None:
        kind = type(pipeline).__name__
        if kind not in FAMILIES:
            raise UsageError(f"model.path: {kind} is not supported; supported pipelines: {', '.join(FAMILIES)}.")
        self.family = FAMILIES[kind]
        self.path: Path = self.family.PATH
        self.accelerator = accelerator or Accelerator()
        self.pipeline = pipeline.to(self.accelerator.device)
        self.guidance = guidance
        self.negative_prompt = negative_prompt
        self.max_sequence_length = max_sequence_length
        side = self.family.native_size(pipeline)
        self.latent_shape = self.family.latent_shape(pipeline, height or side, width or side)
        self.lora = lora
        self.network = getattr(pipeline, self.family.NETWORK)
        self._embeddings: dict[str, Conditioning] = {}
        for module in pipeline.components.values():
            if isinstance(module, torch.nn.Module):
                module.requires_grad_(False).eval()
        self._add_adapter()
        self.gradient_checkpointing = gradient_checkpointing
        if gradient_checkpointing:
            self.network.enable_gradient_checkpointing()

    @property
    def dtype(self) -> torch.dtype:
        """What the network computes in."""
        return self.network.dtype

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
                self.network.add_adapter(config)
            except ValueError as error:
                raise UsageError(f"lora.targets: {error}") from error
        for parameter in self.parameters():
            parameter.data = parameter.data.float()

    def sigmas(self, steps: int) -> Tensor:
        """See Policy.sigmas."""
        return self.family.sigmas(self.pipeline, steps, self.latent_shape)

    def initial_noise(self, count: int, sigma: float, generator: torch.Generator) -> Tensor:
        """See Policy.initial_noise."""
        noise = torch.randn((count, *self.latent_shape), generator=generator)
        return (sigma * noise).to(self.accelerator.device)

    def denoise(self, x: Tensor, sigma: float, prompts: Sequence[str]) -> Tensor:
        """See Policy.denoise; the conditional and unconditional halves of guidance share one batch."""
        with self.accelerator.autocast():
            if self.guidance == 1 or self.family.DISTILLED:
                return self.family.predict(self.pipeline, x, sigma, self.embed(prompts), self.guidance)
            texts = [self.negative_prompt] * len(prompts) + list(prompts)
            both = self.family.predict(self.pipeline, torch.cat([x, x]), sigma, self.embed(texts), self.guidance)
        unconditional, conditional = both.chunk(2)
        return self.family.guide(x, unconditional, conditional, self.guidance)

    def training_bytes(self, x: Tensor, sigma: float, prompts: Sequence[str]) -> int:
        """See Policy.training_bytes; with gradient checkpointing this is what it would take without, an upper bound."""
        if self.gradient_checkpointing:
            self.network.disable_gradient_checkpointing()
        try:
            return saved_bytes(lambda: self.denoise(x, sigma, prompts))
        finally:
            if self.gradient_checkpointing:
                self.network.enable_gradient_checkpointing()

    @torch.no_grad()
    def embed(self, texts: Sequence[str]) -> Conditioning:
        """The conditioning of every text; each distinct text is encoded once in the life of the policy.

        Each is encoded alone: in company its last digits would depend on the company, and a resumed run meets its
        prompts in another order.
        """
        distinct = list(dict.fromkeys(texts))
        for text in distinct:
            if text not in self._embeddings:
                self._embeddings[text] = self.family.encode(self.pipeline, [text], self.max_sequence_length)
        place = {text: i for i, text in enumerate(distinct)}
        rows = torch.tensor([place[text] for text in texts], device=self.accelerator.device)
        columns = zip(*(self._embeddings[text] for text in distinct), strict=True)
        return tuple(torch.cat(column)[rows] for column in columns)

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """See Policy.decode."""
        return self.family.decode(self.pipeline, latents)

    def parameters(self) -> list[torch.nn.Parameter]:
        """See Policy.parameters."""
        return [weight for name, weight in self.network.named_parameters() if "lora_" in name]

    @contextmanager
    def reference(self) -> Iterator[None]:
        """See Policy.reference."""
        self.network.disable_adapters()
        try:
            yield
        finally:
            self.network.enable_adapters()

    def adapter_state(self) -> dict[str, Tensor]:
        """See Policy.adapter_state; the names are those that diffusers and ComfyUI both read."""
        state = get_peft_model_state_dict(self.network)
        return {self.family.file_name(name): weight.detach().cpu().clone() for name, weight in state.items()}

    def load_adapter_state(self, state: dict[str, Tensor]) -> None:
        """See Policy.load_adapter_state."""
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

    dtype: "float32" or "bfloat16"; by default float32 on a CPU, else bfloat16.
    """
    device = PartialState(cpu=cpu).device
    chosen = dtype or ("float32" if device.type == "cpu" else "bfloat16")
    accelerator = Accelerator(cpu=cpu, mixed_precision=PRECISIONS[chosen])
    pipeline = load_pipeline(path, chosen, config)
    pipeline.set_progress_bar_config(disable=True)
    return DiffusersPolicy(pipeline, lora, accelerator=accelerator, **options)
