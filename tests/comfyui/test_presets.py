"""Settings that suit a model."""

from __future__ import annotations

import comfy.supported_models as supported
import pytest

from tests.comfyui.zoo import ZOO, model_of
from treegrpo.backends.comfy.presets import FAMILIES, Preset, memory_gb, preset_of
from treegrpo.memory.batch_sizes import DEFAULT_GB


def loaded(family: str, file: str | None):
    """A model of a family as a stock loader leaves it, that remembers its file."""
    model = model_of(family)
    model.cached_patcher_init = file and (lambda *given: None, (f"/models/diffusion_models/{file}", {}))
    return model


@pytest.mark.parametrize(
    ("family", "file", "expected"),
    [
        ("ZImage", "z_image_turbo_bf16.safetensors", ("Z-Image, few steps", 8, 1.0)),
        ("ZImage", "z_image_bf16.safetensors", ("Z-Image", 12, 4.0)),
        ("ZImage", None, ("Z-Image", 12, 4.0)),
        ("Krea2", "krea2_turbo_fp8_scaled.safetensors", ("Krea 2, few steps", 8, 1.0)),
        ("Flux2", "flux-2-klein-4b.safetensors", ("FLUX.2, few steps", 4, 1.0)),
        ("Flux2", "flux-2-klein-base-4b.safetensors", ("FLUX.2", 12, 5.0)),
        ("QwenImage", "qwen_image_2512_fp8_e4m3fn.safetensors", ("Qwen-Image", 12, 4.0)),
        ("Flux", "flux1-dev.safetensors", ("FLUX.1", 8, 1.0)),
        ("HunyuanImage21 distilled", None, ("Hunyuan-Image 2.1, few steps", 8, 1.0)),
        ("SD15", "dreamshaper_8LCM.safetensors", ("Stable Diffusion 1, few steps", 4, 1.0)),
    ],
)
def test_the_family_and_the_name_of_the_file_decide(family, file, expected):
    found = preset_of(loaded(family, file))
    assert (found.name, found.steps, found.guidance) == expected


def test_a_family_is_what_it_is_made_from_or_has_settings_for_all():
    model = loaded("SD15", None)
    model.model.model_config = supported.SSD1B({})
    assert preset_of(model) == FAMILIES["SDXL"]
    assert preset_of(loaded("JoyImage", None)) == Preset("JoyImage")


def test_families_have_the_names_of_comfyui():
    known = {kind.__name__ for kind in supported.models}
    # A later ComfyUI may call one otherwise; then its models would have the settings for all, which only this tells.
    assert FAMILIES.keys() <= known
    assert {name for name in FAMILIES if name in ZOO} >= {"QwenImage", "ZImage", "Krea2", "Flux2", "Anima"}


def test_on_a_cpu_memory_is_what_it_always_was():
    assert memory_gb(loaded("SD15", None)) == DEFAULT_GB
