"""A checkpoint file in the layout that artists have, against the pipeline whose weights it carries."""

import pytest
import torch
from safetensors.torch import save_file

from tests.backends.pipelines import tiny_pipeline
from treegrpo.backends.pipeline_file import load_pipeline
from treegrpo.errors import UsageError


def test_a_folder_of_any_family_opens(tmp_path):
    made = tiny_pipeline("sdxl")
    made.save_pretrained(tmp_path)
    opened = load_pipeline(str(tmp_path), "float32")
    assert type(opened) is type(made)
    for name, weight in made.unet.state_dict().items():
        assert torch.equal(opened.unet.state_dict()[name], weight)


def test_a_file_without_cached_configuration_says_which_and_how(tmp_path):
    file = tmp_path / "mine.safetensors"
    # The key that tells Stable Diffusion 1 from others, with the width of its text tokens.
    key = "model.diffusion_model.input_blocks.0.0.weight"
    save_file({key: torch.zeros(320, 4, 3, 3), "cond_stage_model.x": torch.zeros(1)}, file)
    with pytest.raises(UsageError, match=r'"v1" checkpoint .* hf download stable-diffusion-v1-5/stable-diffusion-v1-5'):
        load_pipeline(str(file), "float32")


def test_a_file_of_the_denoiser_alone_needs_the_weights_of_the_rest_too(tmp_path):
    file = tmp_path / "mine.safetensors"
    save_file({"txt_norm.weight": torch.zeros(1)}, file)
    with pytest.raises(UsageError, match=r'"qwen-image" .* hf download Qwen/Qwen-Image .* "text_encoder\*" "vae/\*"'):
        load_pipeline(str(file), "float32")
    save_file({"double_blocks.0.img_attn.norm.key_norm.scale": torch.zeros(1)}, file)
    with pytest.raises(
        UsageError, match=r'"flux-schnell" .* text encoders and VAE of black-forest-labs/FLUX.1-schnell'
    ):
        load_pipeline(str(file), "float32")


def test_weights_that_only_comfyui_reads_are_refused(tmp_path):
    file = tmp_path / "mine.safetensors"
    save_file({"txt_norm.weight": torch.zeros(1), "img_in.weight_scale": torch.ones(1)}, file)
    with pytest.raises(UsageError, match="quantised in a way that only ComfyUI reads"):
        load_pipeline(str(file), "float32")


def test_a_file_that_is_not_a_checkpoint_is_refused(tmp_path):
    file = tmp_path / "broken.safetensors"
    file.write_bytes(b"not a safetensors file")
    with pytest.raises(UsageError, match="cannot be read as a checkpoint"):
        load_pipeline(str(file), "float32")
    with pytest.raises(UsageError, match="there is no file"):
        load_pipeline(str(tmp_path / "none.safetensors"), "float32")


def test_a_checkpoint_of_an_unknown_family_lists_the_known(tmp_path):
    file = tmp_path / "upscale.safetensors"
    save_file({"model.diffusion_model.input_blocks.0.0.weight": torch.zeros(320, 9, 3, 3)}, file)
    with pytest.raises(UsageError, match=r'looks like "inpainting", .*; known are v1, v2, xl_base'):
        load_pipeline(str(file), "float32")
    save_file({"something.else": torch.zeros(1)}, file)
    with pytest.raises(UsageError, match='looks like "unknown"'):
        load_pipeline(str(file), "float32")
