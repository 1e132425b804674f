"""Policy on a ComfyUI MODEL: every prediction is one step of ComfyUI's own sampling.

So whatever the artist has put on the model counts (LoRAs, ControlNets, model patches, sampling nodes), and loading,
offloading and casting stay ComfyUI's business.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import comfy.model_management as management
import comfy.model_sampling as parametrisations
import comfy.samplers
import torch
from comfy.ldm.modules.attention import attention_pytorch
from comfy.patcher_extension import CallbacksMP
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from ...errors import UsageError, check_known
from ...method.process import Path
from ...pictures.instruction import reference_of
from ..adapter_state import check_fits
from ..temporarily import temporarily
from .adapters import Adapter, AdapterSettings
from .conditioning import (
    Conditioning,
    Sharing,
    controls,
    groups,
    kept,
    refuse_hooks,
    stacked,
    without_gradients,
    without_pictures,
)
from .frozen import can_freeze
from .fused import plain_kernels
from .saved_bytes import saved_bytes
from .trial import check_slope, gradient_of, sharing_of, small


@dataclass(frozen=True)
class Prompts:
    """The positive conditioning of every text, and the negative one that all share.

    negatives: instead of that one, for texts that have one of their own, such as those that change a picture.
    """

    positive: Mapping[str, Conditioning]
    negative: Conditioning
    negatives: Mapping[str, Conditioning] = field(default_factory=dict)

    @property
    def texts(self) -> list[str]:
        """The prompts in order, each once."""
        return list(self.positive)

    def and_those_of(self, others: Prompts) -> Prompts:
        """With the texts of others, which get this one's negative conditioning."""
        return Prompts({**self.positive, **others.positive}, self.negative, {**self.negatives, **others.negatives})


class ComfyPolicy:
    """A MODEL with a trainable adapter; implements policy.Policy. Use it inside `training()`.

    guidance: ComfyUI's cfg; 1 leaves the negative conditioning out. height, width: pixels. scheduler: a name that
    KSampler knows. schedule: sigmas float [T + 1] that replace it. recompute: gradient checkpointing.
    Raises UsageError for models that it cannot train.
    """

    def __init__(
        self,
        model: Any,
        vae: Any,
        prompts: Prompts,
        adapter: AdapterSettings = AdapterSettings(),
        guidance: float = 1.0,
        height: int = 512,
        width: int = 512,
        scheduler: str = "normal",
        schedule: Tensor | None = None,
        recompute: bool = True,
    ) -> None:
        check_known("scheduler", scheduler, comfy.samplers.SCHEDULER_NAMES)
        self.path = path_of(model)
        self.patcher = _own_copy(model)
        self.vae = vae
        self.guidance = guidance
        self.scheduler = scheduler
        self.schedule = schedule
        self.latent_shape = _latent_shape(self.patcher.model, vae, height, width)
        self.known = _kept(prompts)
        self.sharing = Sharing.LIKE_PROMPTS
        self.careful = False
        self.controls = controls(each for pair in self.known.values() for each in pair)
        if self.controls:
            # A U-Net adds a ControlNet's output to the tensors that autograd keeps of its input blocks, in place.
            self.patcher.set_model_input_block_patch_after_skip(lambda h, _: h.clone())
        self.adapter = Adapter(self.patcher.model, adapter, self.patcher.load_device)
        injection, self.blocks = self.adapter.injection(self.patcher.model, recompute)
        self.patcher.set_injections("treegrpo", [injection])

    @property
    def dtype(self) -> torch.dtype:
        """What the network computes in."""
        return self.patcher.model.get_dtype_inference()

    @property
    def decoder(self) -> str:
        """See Policy.decoder."""
        dtype = str(self.vae.vae_dtype).removeprefix("torch.")
        return f"the VAE computes in {dtype}; start ComfyUI with --bf16-vae or --fp32-vae, or load another VAE"

    def sigmas(self, steps: int) -> Tensor:
        """See Policy.sigmas. Raises UsageError when the schedule given has another length."""
        if self.schedule is None:
            return sigmas_of(self.patcher, self.scheduler, steps)
        if len(self.schedule) != steps + 1 or self.schedule[-1] != 0:
            raise UsageError(
                f"sigmas: the schedule has {len(self.schedule) - 1} steps and ends at {float(self.schedule[-1]):g}, "
                f"where the plan needs {steps} steps down to 0; make both agree."
            )
        return self.schedule.float().cpu().clone()

    def initial_noise(self, count: int, sigma: float, generator: torch.Generator) -> Tensor:
        """See Policy.initial_noise; as KSampler starts on an empty latent."""
        noise = torch.randn((count, *self.latent_shape), generator=generator)
        largest = float(self._sampling.sigma_max)
        full = sigma > largest or math.isclose(sigma, largest, rel_tol=1e-5)
        x = self._sampling.noise_scaling(torch.tensor([sigma]), noise, torch.zeros_like(noise), full)
        return x.to(self.patcher.load_device)

    def prepare(self, prompts: Sequence[str]) -> None:
        """See Policy.prepare: prompts come encoded, and ComfyUI makes room."""

    def denoise(self, x: Tensor, sigma: float, prompts: Sequence[str], until: float = 0.0) -> Tensor:
        """See Policy.denoise. Rows that must not share a call go through the network in turn."""
        return self._denoise(x, torch.tensor([sigma, until]), prompts, self.sharing)

    def try_out(self) -> None:
        """Find out what the model can do. Raises UsageError when it cannot take the conditioning or be trained."""
        step = sigmas_of(self.patcher, self.scheduler, 4)[2:4]
        noise = torch.randn((2, *small(self.latent_shape)), generator=torch.Generator().manual_seed(0))
        x = (step[0] * noise).to(self.patcher.load_device)
        self.sharing = sharing_of(partial(self._denoise, x, step), self.known, self.dtype)
        x, texts = x[:1], list(self.known)[:1]
        self._check_looks(x, step)
        with torch.no_grad():
            size = float(self._denoise(x, step, texts, self.sharing).norm())

        def loss() -> Tensor:
            return (noise[:1].to(x.device) * self._denoise(x, step, texts, self.sharing)).sum()

        weights = self.parameters()
        self._take_care(False)
        gradient = gradient_of(loss, weights)
        if gradient is None:
            self._take_care(True)
            gradient = gradient_of(loss, weights)
        if gradient is None:
            raise UsageError(
                "model: it cannot be differentiated, since it or a patch on it overwrites what gradients are made of; "
                "take patches off while training."
            )
        check_slope(loss, weights, gradient, size)
        for block in self.blocks:
            block.forget()  # what it keeps of a small picture

    def _take_care(self, careful: bool) -> None:
        """Whether copies are kept of all that autograd keeps, outside the blocks and where they are computed again."""
        self.careful = careful
        for block in self.blocks:
            block.careful = careful

    @torch.no_grad()
    def _check_looks(self, x: Tensor, sigmas: Tensor) -> None:
        """Raises UsageError when there are pictures to change and the model does not look at them."""
        text = next((text for text in self.known if reference_of(text) is not None), None)
        if text is None:
            return
        positive, negative = self.known[text]
        seen, blind = (
            self._predict(x, sigmas, [pair])
            for pair in ((positive, negative), (without_pictures(positive), without_pictures(negative)))
        )
        if torch.equal(seen, blind):
            raise UsageError(
                "prompts: this model does not look at the pictures that are to be changed; load an edit model, such as "
                "Qwen-Image-Edit, FLUX Kontext or FLUX.2, or take the pictures out of Prompts."
            )

    def _denoise(self, x: Tensor, sigmas: Tensor, prompts: Sequence[str], sharing: Sharing) -> Tensor:
        shared = groups(prompts, self.known, sharing)
        if len(shared) == 1:
            return self._predict(x, sigmas, [self.known[text] for text in prompts])
        parts = [self._predict(x[rows], sigmas, [self.known[prompts[i]] for i in rows]) for rows in shared]
        order = torch.tensor([i for rows in shared for i in rows], device=x.device).argsort()
        return torch.cat(parts)[order]

    def training_bytes(self, x: Tensor, sigma: float, prompts: Sequence[str]) -> int:
        """See Policy.training_bytes: what the forward pass keeps, and the block whose recomputation keeps most."""
        with temporarily(self, careful=False):  # or its hooks would keep those that count from seeing anything
            kept = saved_bytes(lambda: self.denoise(x, sigma, prompts))
        return kept + max((block.bytes_inside for block in self.blocks), default=0)

    def decoding_bytes(self, latents: Tensor) -> int:
        """See Policy.decoding_bytes: ComfyUI splits what its VAE decodes by the memory that is free."""
        return 0

    def _predict(self, x: Tensor, sigmas: Tensor, rows: Sequence[tuple[Conditioning, Conditioning]]) -> Tensor:
        guider = comfy.samplers.CFGGuider(self.patcher)
        guider.set_conds(*map(stacked, zip(*rows, strict=True)))
        guider.set_cfg(self.guidance)
        step = _OneStep()
        copies = saved_tensors_hooks(lambda kept: kept.detach().clone(), lambda kept: kept)
        with without_gradients(self.controls), copies if self.careful else nullcontext():
            guider.sample(x, torch.zeros(x.shape), step, sigmas, disable_pbar=True, seed=0)
        return step.denoised

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """See Policy.decode."""
        return decode(self.patcher, self.vae, latents)

    def parameters(self) -> list[nn.Parameter]:
        """See Policy.parameters."""
        return self.adapter.parameters()

    @contextmanager
    def reference(self) -> Iterator[None]:
        """See Policy.reference."""
        self.adapter.switch.on = False
        try:
            yield
        finally:
            self.adapter.switch.on = True

    def drawing(self) -> AbstractContextManager[None]:
        """See Policy.drawing; guidance is one and the same here."""
        return nullcontext()

    def adapter_state(self) -> dict[str, Tensor]:
        """See Policy.adapter_state; the names are those of ComfyUI's own trainer, which every loader of it knows."""
        return {name: weight.detach().cpu().clone() for name, weight in self.adapter.tensors()}

    def load_adapter_state(self, state: dict[str, Tensor]) -> None:
        """See Policy.load_adapter_state."""
        own = dict(self.adapter.tensors())
        check_fits(state, own)
        for name, weight in own.items():
            weight.data.copy_(state[name])

    def close(self) -> None:
        """Take everything off the model that training has put on it, and give its memory back."""
        management.unload_model_and_clones(self.patcher)
        self.patcher.remove_injections("treegrpo")

    @property
    def _sampling(self) -> Any:
        return self.patcher.get_model_object("model_sampling")


def decode(model: Any, vae: Any, latents: Tensor) -> Tensor:
    """Images float32 [N, H, W, 3] in 0..1 on the CPU, from latents in the units in which the MODEL denoises.

    Raises UsageError where what comes out are no pictures.
    """
    made = vae.decode(model.model.process_latent_out(latents)).float().cpu()
    images = made.flatten(0, -4) if made.ndim == 5 else made  # of a VAE for videos, with the frame as a dimension
    if images.ndim != 4 or len(images) != len(latents) or images.shape[-1] < 3:
        raise UsageError(f"vae: it makes no pictures of these latents (but {list(made.shape)}); use a model of images.")
    return images[..., :3]


@contextmanager
def training() -> Iterator[None]:
    """A context in which ComfyUI computes what can be differentiated.

    Its executor runs nodes in inference mode, and its fused kernels, which differ in the last digits from those with a
    derivative, are off only while it trains; the rollout has to use the same ones as the update.
    """
    with torch.inference_mode(False), temporarily(management, in_training=True), plain_kernels():
        yield


class _OneStep(comfy.samplers.Sampler):
    """Asks the guided model for x0 at the first sigma, and remembers it."""

    def sample(
        self, model_wrap: Any, sigmas: Tensor, extra_args: dict, callback: Any, noise: Tensor, *_: Any
    ) -> Tensor:
        self.denoised = model_wrap(noise, sigmas[:1].expand(len(noise)), **extra_args)
        return noise


def _own_copy(model: Any) -> Any:
    """A clone of a ModelPatcher that shares its weights and may be changed without the artist's MODEL changing.

    Raises UsageError for models on several GPUs, for those that dynamic VRAM cannot give as plain tensors, and for
    patches with networks of their own.
    """
    if model.model_patches_models():
        # Gradients would have to pass through networks that belong to ComfyUI's inference mode.
        raise UsageError(
            "model: a patch on it brings a network of its own (such as Z-Image's or Qwen's ControlNet patches), which "
            "cannot be trained through; take that node out while training."
        )
    if "easycache" in model.model_options.get("transformer_options", {}):
        raise UsageError(
            "model: EasyCache or LazyCache is on it, which skips steps while a picture is drawn from start to end, and "
            "trees are not; take that node out while training."
        )
    if model.get_additional_models_with_key("multigpu"):
        raise UsageError("model: it is spread over several GPUs, where ComfyUI has no gradients; take that node out.")
    if model.is_dynamic():
        # Weights of dynamic VRAM live only while their layer runs; the clone has to hold them as plain tensors.
        try:
            patcher = model.clone(disable_dynamic=True, force_deepcopy=True)
        except RuntimeError as error:
            raise UsageError(
                "model: its loader cannot load it a second time, which dynamic VRAM makes necessary; use a stock "
                "loader, or start ComfyUI with --disable-dynamic-vram."
            ) from error
    else:
        patcher = model.clone()
    options = patcher.model_options.setdefault("transformer_options", {})
    options["optimized_attention_override"] = lambda _, *args, **kwargs: attention_pytorch(*args, **kwargs)
    # ComfyUI halves a batch when memory looks short, and a batch of another size rounds otherwise: the update would no
    # longer repeat the rollout. The sizes of batches are decided before, by treegrpo.memory.
    patcher.get_free_memory = lambda device: math.inf
    patcher.add_callback(CallbacksMP.ON_LOAD, lambda loaded, *_: _leave_inference_mode(loaded.model))
    return patcher


def _kept(prompts: Prompts) -> dict[str, tuple[Conditioning, Conditioning]]:
    """The positive and the negative conditioning of every text, as autograd may save them. See refuse_hooks."""
    for conditioning in (*prompts.positive.values(), prompts.negative, *prompts.negatives.values()):
        refuse_hooks(conditioning)
    shared, own = kept(prompts.negative), {text: kept(each) for text, each in prompts.negatives.items()}
    return {text: (kept(each), own.get(text, shared)) for text, each in prompts.positive.items()}


def _leave_inference_mode(model: nn.Module) -> None:
    """Replace weights that autograd may not save by equal ones. Frozen layers save none, so few are left."""
    for module in model.modules():
        if can_freeze(module):
            continue
        for name, weight in module._parameters.items():
            if weight is not None and weight.is_inference():
                module._parameters[name] = nn.Parameter(weight.clone(), requires_grad=False)
        for name, buffer in module._buffers.items():
            if buffer is not None and buffer.is_inference():
                module._buffers[name] = buffer.clone()


def sigmas_of(model: Any, scheduler: str, steps: int) -> Tensor:
    """The noise levels float32 [steps + 1] of a MODEL, as KSampler goes through them."""
    return comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), scheduler, steps).float().cpu()


def path_of(model: Any) -> Path:
    """The path of a model's parametrisation. Raises UsageError for those without one."""
    sampling = model.get_model_object("model_sampling")
    if isinstance(sampling, parametrisations.CONST) and getattr(sampling, "noise_scale", 1.0) == 1.0:
        return Path.FLOW
    # Cosmos hands a flow network states that are scaled by 1 / (1 + sigma); what is sampled is x0 + sigma eps.
    kinds = (parametrisations.EPS, parametrisations.COSMOS_RFLOW)
    if isinstance(sampling, kinds) and not isinstance(sampling, parametrisations.X0):
        return Path.VE
    raise UsageError(
        f"model: {type(model.model).__name__} predicts in a way that cannot be trained yet; "
        "use a flow, eps- or v-prediction model."
    )


def _latent_shape(model: Any, vae: Any, height: int, width: int) -> tuple[int, ...]:
    """(C, H, W) of one picture's latents, or (C, 1, H, W) where the model counts frames.

    Raises UsageError for models of sounds and shapes, and for a VAE of other channels.
    """
    latent = model.latent_format
    # ComfyUI knows the colours of all latents of pictures, for previews; some of sounds and shapes look like those.
    colours = getattr(latent, "latent_rgb_factors", None)
    if latent.latent_dimensions not in (2, 3) or colours is None or getattr(vae, "output_channels", 3) < 3:
        raise UsageError(f"model: {type(model).__name__} makes no pictures; use a model of images.")
    if vae is not None and vae.latent_channels != latent.latent_channels:
        raise UsageError(
            f"vae: it has {vae.latent_channels} latent channels and the model {latent.latent_channels}; "
            "connect the VAE that belongs to the model."
        )
    scale = latent.spacial_downscale_ratio
    frames = (1,) * (latent.latent_dimensions - 2)
    return latent.latent_channels, *frames, height // scale, width // scale
