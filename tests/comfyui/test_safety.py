"""What training leaves behind: the artist's MODEL as it was, and memory as it was, whatever happened."""

from __future__ import annotations

import gc
from types import SimpleNamespace
from typing import Any
from unittest import mock

import comfy.latent_formats
import comfy.model_management as management
import pytest
import torch

from tests.comfyui.families import SIDE, open_model, open_policy, prompts
from tests.comfyui.test_policy import SIZES, grown, updated
from treegrpo.backends.comfy.adapters import AdapterSettings
from treegrpo.backends.comfy.policy import ComfyPolicy, training
from treegrpo.errors import UsageError
from treegrpo.method.update import UpdateSettings, update


@pytest.fixture(params=["sd3", "flux", "sd15"])
def family(request):
    return request.param


def snapshot(model: Any) -> dict[str, torch.Tensor]:
    """Copies of all weights of a MODEL."""
    return {name: weight.detach().clone() for name, weight in model.model.state_dict().items()}


def assert_untouched(model: Any, before: dict[str, torch.Tensor]) -> None:
    """The weights are the same bits, and nothing of the training is left on the modules or in ComfyUI."""
    after = model.model.state_dict()
    assert after.keys() == before.keys()
    for name, weight in after.items():
        assert torch.equal(weight.flatten().view(torch.uint8), before[name].flatten().view(torch.uint8)), name
    assert all("forward" not in vars(module) for module in model.model.modules())
    assert not model.injections
    assert not model.is_injected
    assert not management.in_training


def train_once(model: Any, vae: Any, family: str, passes: int = 2) -> None:
    """A rollout and an update, as a node does them."""
    with torch.inference_mode(), training():
        policy = open_policy(model, vae, family)
        try:
            updated(policy, passes=passes)
        finally:
            policy.close()


def test_the_model_is_untouched_after_training(family, folder):
    with torch.inference_mode():  # as ComfyUI's executor loads it
        model, vae = open_model(family, folder)
    before = snapshot(model)
    train_once(model, vae, family)
    assert_untouched(model, before)


def test_the_model_is_untouched_after_a_failure(family, folder, monkeypatch):
    model, vae = open_model(family, folder)
    before = snapshot(model)
    monkeypatch.setattr("treegrpo.method.update.clipped_surrogate", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        train_once(model, vae, family)
    assert_untouched(model, before)


def test_an_interrupt_in_the_middle_of_the_backward_pass(family, folder):
    """With blocks recomputed, ComfyUI's own layers run in the backward pass and notice the interrupt there."""
    model, vae = open_model(family, folder)
    before = snapshot(model)
    with torch.inference_mode(), training():
        policy = open_policy(model, vae, family, recompute=True)
        weights = policy.adapter_state()
        tree = grown(policy)
        seen = []

        def interrupt(grad: torch.Tensor) -> None:
            seen.append(grad)
            management.interrupt_current_processing(True)

        # The gradient of the last weight comes first.
        policy.parameters()[-1].register_post_accumulate_grad_hook(interrupt)
        optimizer = torch.optim.AdamW(policy.parameters())
        try:
            with pytest.raises(management.InterruptProcessingException):
                update(policy, tree, optimizer, UpdateSettings(), SIZES.training)
        finally:
            management.interrupt_current_processing(False)
            policy.close()
        assert len(seen) == 1
        for name, weight in policy.adapter_state().items():
            assert torch.equal(weight, weights[name])
    assert_untouched(model, before)
    train_once(model, vae, family)  # and it can go on
    assert_untouched(model, before)


def bytes_alive() -> int:
    """Bytes of all tensors that Python can reach."""
    gc.collect()
    storages = {}
    for thing in gc.get_objects():
        if type(thing) in (torch.Tensor, torch.nn.Parameter) and thing.layout == torch.strided:
            storage = thing.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
    return sum(storages.values())


def test_a_second_training_leaves_no_more_memory_behind_than_one(family, folder):
    model, vae = open_model(family, folder)
    alive = []
    for _ in range(2):
        train_once(model, vae, family, passes=1)
        alive.append(bytes_alive())
    assert alive[1] <= alive[0], "what one training leaves, each would"


def test_a_model_whose_loader_cannot_load_it_again(folder):
    model, vae = open_model("sd3", folder)
    model.cached_patcher_init = None
    train_once(model, vae, "sd3")


def test_what_cannot_be_trained_is_refused_in_a_sentence(folder):
    model, vae = open_model("sd3", folder)
    _, other_vae = open_model("sd15", folder)
    given = prompts("sd3")
    with pytest.raises(UsageError, match=r"vae: it has 4 latent channels and the model 16"):
        ComfyPolicy(model, other_vae, given, height=SIDE, width=SIDE)
    with pytest.raises(UsageError, match=r"rank: 65 is more than layer .* 64 or less"):
        ComfyPolicy(model, vae, given, AdapterSettings(rank=65), height=SIDE, width=SIDE)
    with pytest.raises(UsageError, match=r"targets: .*matches no layer.*joint_blocks"):
        ComfyPolicy(model, vae, given, AdapterSettings(targets="lstm"), height=SIDE, width=SIDE)
    with pytest.raises(UsageError, match=r"nor a regular expression"):
        ComfyPolicy(model, vae, given, AdapterSettings(targets="(("), height=SIDE, width=SIDE)
    with pytest.raises(UsageError, match=r'scheduler: "nromal"'):
        ComfyPolicy(model, vae, given, height=SIDE, width=SIDE, scheduler="nromal")
    with pytest.raises(UsageError, match=r"sigmas: the schedule has 2 steps and ends at 0.5"):
        ComfyPolicy(model, vae, given, height=SIDE, width=SIDE, schedule=torch.tensor([1.0, 0.8, 0.5])).sigmas(2)
    with training(), pytest.raises(UsageError, match=r"prompts: this model cannot take their conditioning"):
        ComfyPolicy(model, vae, prompts("sd15"), height=SIDE, width=SIDE).try_out()
    sound, _ = open_model("sd3", folder)
    sound.model.latent_format = comfy.latent_formats.StableAudio1()
    with pytest.raises(UsageError, match=r"makes no pictures"):
        ComfyPolicy(sound, vae, given, height=SIDE, width=SIDE)
    with pytest.raises(UsageError, match=r"makes no pictures"):  # of sounds too, whose latents look like pictures
        ComfyPolicy(model, SimpleNamespace(output_channels=2), given, height=SIDE, width=SIDE)
    spread, _ = open_model("sd3", folder)
    spread.set_additional_models("multigpu", [spread.clone()])
    with pytest.raises(UsageError, match=r"several GPUs"):
        ComfyPolicy(spread, vae, given, height=SIDE, width=SIDE)
    patched = model.clone()
    patched.set_model_double_block_patch(NetworkPatch(model))
    with pytest.raises(UsageError, match=r"a network of its own"):
        ComfyPolicy(patched, vae, given, height=SIDE, width=SIDE)


def test_a_full_device_is_not_taken_for_a_wrong_clip(folder, monkeypatch):
    """Apple's has no class of errors for it."""
    full = RuntimeError("MPS backend out of memory (MPS allocated: 17.90 GiB, max allowed: 18.13 GiB)")
    with training():
        policy = open_policy(*open_model("sd3", folder), "sd3")
        monkeypatch.setattr(policy, "_predict", mock.Mock(side_effect=full))
        with pytest.raises(RuntimeError) as caught:
            policy.try_out()
        policy.close()
    assert caught.value is full


class NetworkPatch:
    """A patch as ComfyUI's nodes for model patches make them: it names the models that it runs."""

    def __init__(self, model: Any) -> None:
        self.model = model

    def __call__(self, arguments: Any) -> Any:
        return arguments

    def models(self) -> list[Any]:
        return [self.model]


def test_a_lora_of_another_model_is_refused(folder):
    sd3, flux = open_model("sd3", folder), open_model("flux", folder)
    own = ComfyPolicy(*sd3, prompts("sd3"), height=SIDE, width=SIDE)
    foreign = ComfyPolicy(*flux, prompts("flux"), height=SIDE, width=SIDE).adapter_state()
    with pytest.raises(UsageError, match=r"it was trained on another model or with other settings"):
        own.load_adapter_state(foreign)
    other = ComfyPolicy(*sd3, prompts("sd3"), AdapterSettings(rank=4), height=SIDE, width=SIDE).adapter_state()
    with pytest.raises(UsageError, match=r"use the model and the rank"):
        own.load_adapter_state(other)
