"""The trainable adapter: ComfyUI's own LoRA or LoKr modules, injected beside frozen layers of a MODEL."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from comfy.patcher_extension import PatcherInjection
from comfy.weight_adapter import BypassInjectionManager, WeightAdapterTrainBase, adapter_maps
from torch import Tensor, nn

from ...errors import UsageError, check_known
from .frozen import can_freeze, frozen_forward, is_linear
from .recompute import Recomputed, blocks

KINDS = ("LoRA", "LoKr")
ATTENTION = r"attn|attention|single_blocks\.\d+\.linear"
PRESETS = {"attention": ATTENTION, "attention+mlp": rf"{ATTENTION}|mlp|\bff\b|ffn|feed_forward"}
ROOT = "diffusion_model"


@dataclass(frozen=True)
class AdapterSettings:
    """rank, and alpha that scales a LoRA by alpha / rank (a LoKr has no scale).

    targets: a name in PRESETS, or a regular expression searched for in the paths of linear layers.
    """

    kind: str = "LoRA"
    rank: int = 16
    alpha: float = 16.0
    targets: str = "attention"
    seed: int = 0

    @classmethod
    def of_file(cls, facts: dict[str, Any]) -> AdapterSettings:
        """The settings of an adapter that has been written, from the facts in its LoRA file."""
        return cls(facts["kind"], facts["rank"], facts["alpha"], facts["targets"])


class Switch:
    """Whether the adapter takes part; off, the model is the base model."""

    on = True


class Adapter:
    """All adapter modules of one model, in the order of its layers, in float32."""

    def __init__(self, model: nn.Module, settings: AdapterSettings, device: torch.device) -> None:
        self.settings = settings
        self.switch = Switch()
        self.modules: dict[str, WeightAdapterTrainBase] = {}
        check_known("lora.kind", settings.kind, KINDS)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(settings.seed)
            for path, layer in _targets(model, settings.targets):
                self.modules[path] = _trainable(path, layer, settings).to(device)

    def parameters(self) -> list[nn.Parameter]:
        """The trainable weights."""
        return [weight for module in self.modules.values() for weight in module.parameters() if weight.requires_grad]

    def tensors(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Every weight and alpha with its name in LoRA files: diffusion_model.<path>.lora_up.weight and so on."""
        for path, module in self.modules.items():
            for name, weight in module.named_parameters():
                yield f"{path}.{name}", weight

    def injection(self, model: nn.Module, recompute: bool) -> tuple[PatcherInjection, list[Recomputed]]:
        """What a ModelPatcher does to the model on loading and undoes on unloading, and the blocks that it wraps.

        Every linear and convolution layer of the denoiser becomes a frozen one, with its adapter if it has one.
        recompute: the blocks keep only their inputs for the backward pass.
        """
        manager = BypassInjectionManager()
        repeated = [(block, Recomputed(block.forward, recompute)) for block in blocks(getattr(model, ROOT))]
        changed = [block for block, _ in repeated]
        for path, layer in model.named_modules():
            if path.startswith(f"{ROOT}.") and can_freeze(layer):
                manager.add_adapter(path, _Beside(layer, self.modules.get(path), self.switch))
                changed.append(layer)
        [layers] = manager.create_injections(model)
        found: dict[nn.Module, Any] = {}

        def inject(patcher: Any) -> None:
            found.update({module: vars(module).get("forward") for module in changed})
            layers.inject(patcher)
            for block, recomputed in repeated:
                block.forward = recomputed

        def eject(patcher: Any) -> None:
            layers.eject(patcher)
            for module, forward in found.items():
                if forward is None:
                    del module.forward
                else:
                    module.forward = forward
            found.clear()

        return PatcherInjection(inject=inject, eject=eject), [recomputed for _, recomputed in repeated]


class _Beside(WeightAdapterTrainBase):
    """What ComfyUI's bypass calls in place of a layer: the frozen layer plus what its adapter adds."""

    def __init__(self, layer: nn.Module, adapter: WeightAdapterTrainBase | None, switch: Switch) -> None:
        super().__init__()
        # Not registered as submodules: ComfyUI moves the bypass to the device, and the layer must stay where it is.
        self._parts = (layer, adapter, switch)

    def bypass_forward(self, org_forward: Callable[..., Tensor], x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """The adapter computes in its own dtype, float32, whatever the layer computes in."""
        layer, adapter, switch = self._parts
        base = frozen_forward(layer, org_forward, x, *args, **kwargs)
        if adapter is None or not switch.on:
            return base
        return base + adapter.h(x.to(adapter.alpha.dtype), base).to(base.dtype)


def _targets(model: nn.Module, targets: str) -> list[tuple[str, nn.Module]]:
    """The linear layers of the denoiser that `targets` means. Raises UsageError when there are none."""
    try:
        pattern = re.compile(PRESETS.get(targets, targets))
    except re.error as error:
        raise UsageError(
            f'lora.targets: "{targets}" is neither one of {", ".join(PRESETS)} nor a regular expression ({error}).'
        ) from error
    linear = [(path, layer) for path, layer in model.named_modules() if path.startswith(ROOT) and is_linear(layer)]
    chosen = [(path, layer) for path, layer in linear if pattern.search(path)]
    if not chosen:
        some = ", ".join(path for path, _ in linear[:: max(1, len(linear) // 4)][:4])
        raise UsageError(f'lora.targets: "{targets}" matches no layer of this model; its layers are named like {some}.')
    return chosen


def _trainable(path: str, layer: Any, settings: AdapterSettings) -> WeightAdapterTrainBase:
    """A fresh adapter module for a layer. Raises UsageError when its rank does not fit."""
    shape = layer.weight.shape
    if settings.kind == "LoRA" and settings.rank > min(shape):
        raise UsageError(
            f"lora.rank: {settings.rank} is more than layer {path} ({shape[0]} x {shape[1]}) can hold; "
            f"choose {min(shape)} or less, or other targets."
        )
    # Only the shape counts; the weight itself may be quantised, or on a device without room.
    like = torch.empty(()).expand(shape)
    adapter = adapter_maps[settings.kind].create_train(like, rank=settings.rank, alpha=settings.alpha)
    for name, weight in adapter.named_parameters():
        weight.requires_grad_(name != "alpha")
    return adapter
