"""Pipelines from folders, hub ids, and checkpoint files in the layouts that artists have."""

import json
import shutil

import pytest
import torch
from huggingface_hub import constants
from safetensors.torch import save_file

from tests.backends.pipelines import tiny_pipeline
from treegrpo.backends.families.registry import FAMILIES
from treegrpo.backends.pipeline_file import load_pipeline
from treegrpo.backends.skeleton import skeleton
from treegrpo.bundled import EMOJI_SD3
from treegrpo.errors import UsageError

HUB_ID = "somebody/model"


def load(path):
    return load_pipeline(path, "float32")


def outline(path):
    return skeleton(path, torch.float32)


@pytest.fixture
def cached(tmp_path, monkeypatch):
    """A Hugging Face cache that holds one model, with nothing in its folder yet; there is no network in the tests."""
    model = tmp_path / "hub" / f"models--{HUB_ID.replace('/', '--')}"
    commit = "0123456789abcdef0123456789abcdef01234567"
    folder = model / "snapshots" / commit
    folder.mkdir(parents=True)
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text(commit)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return folder


@pytest.mark.parametrize("open_it", [load, outline])
@pytest.mark.parametrize("kind", ["StableVideoDiffusionPipeline", "PipelineOfTomorrow", ["pipeline", "MyPipeline"]])
def test_a_pipeline_that_is_not_supported_is_refused_by_its_index_alone(kind, open_it, cached, tmp_path):
    index = json.dumps({"_class_name": kind, "unet": ["diffusers", "UNetOfTomorrow"]})
    (tmp_path / "model_index.json").write_text(index)
    (cached / "model_index.json").write_text(index)
    for path in (str(tmp_path), HUB_ID):
        with pytest.raises(UsageError) as caught:
            open_it(path)
        sentence = str(caught.value)
        assert sentence.startswith(
            f'model.path: "{path}" is a {kind}, which is not supported; choose a StableDiffusion'
        )
        assert sentence.endswith(f" or {' or '.join(list(FAMILIES)[3:])}.")
        assert "\n" not in sentence


@pytest.mark.parametrize("open_it", [load, outline])
@pytest.mark.parametrize("index", [None, "{", "[]", "{}"])
def test_a_folder_without_a_pipeline_is_refused(index, open_it, tmp_path):
    if index:
        (tmp_path / "model_index.json").write_text(index)
    with pytest.raises(UsageError, match=r'^model\.path: ".*" has no model_index\.json that names a pipeline'):
        open_it(str(tmp_path))


@pytest.mark.parametrize("open_it", [load, outline])
@pytest.mark.parametrize("path", ["nobody/nothing", "/nowhere/at/all"])
def test_what_is_neither_a_folder_nor_a_model_is_refused(path, open_it, cached):
    with pytest.raises(UsageError, match=rf'^model\.path: .*"{path}" is neither a folder nor [^\n]*\.$'):
        open_it(path)


@pytest.mark.parametrize("open_it", [load, outline])
def test_a_part_for_which_a_package_is_missing_is_told_in_a_sentence(open_it, tmp_path):
    """Qwen3-VL's processor of videos needs torchvision, which not everybody has; or else it lacks its settings here."""
    folder = shutil.copytree(EMOJI_SD3, tmp_path / "pipeline")
    index = json.loads((folder / "model_index.json").read_text())
    index["tokenizer"] = ["transformers", "Qwen3VLVideoProcessor"]
    (folder / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(UsageError, match=r"^model\.path: [^\n]*cannot be read|^model\.path: [^\n]*could not be loaded"):
        open_it(str(folder))


def test_a_hub_id_opens_from_the_cache(cached):
    shutil.copytree(EMOJI_SD3, cached, dirs_exist_ok=True)
    opened, made = load(HUB_ID), tiny_pipeline("sd3")
    assert type(opened) is type(made)
    for name, weight in made.transformer.state_dict().items():
        assert torch.equal(opened.transformer.state_dict()[name], weight)
    shapes = {name: weight.shape for name, weight in outline(HUB_ID).transformer.state_dict().items()}
    assert shapes == {name: weight.shape for name, weight in made.transformer.state_dict().items()}


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


@pytest.mark.parametrize("prefix", ["", "model.diffusion_model."])
def test_a_file_of_qwen_image_opens_with_and_without_comfyuis_prefix(prefix, tmp_path):
    made = tiny_pipeline("qwen_image")
    made.save_pretrained(tmp_path / "rest")
    weights = made.transformer.state_dict()
    file = tmp_path / "mine.safetensors"
    others = {"vae.x": torch.zeros(1)} if prefix else {}  # files of all parts have the prefix
    save_file({f"{prefix}{name}": weight + 1 for name, weight in weights.items()} | others, file)
    opened = load_pipeline(str(file), "float32", str(tmp_path / "rest"))
    assert type(opened) is type(made)
    assert all(torch.equal(opened.transformer.state_dict()[name], weight + 1) for name, weight in weights.items())


def test_a_file_of_flux_is_known_under_the_names_that_comfyui_gives_it(tmp_path):
    file = tmp_path / "mine.safetensors"
    save_file({"model.diffusion_model.double_blocks.0.img_attn.norm.key_norm.weight": torch.zeros(1)}, file)
    with pytest.raises(UsageError, match=r'is a "flux-schnell" checkpoint'):
        load_pipeline(str(file), "float32")


@pytest.mark.parametrize(
    ("key", "kind", "hub_id"),
    [
        ("cap_embedder.0.weight", "lumina2", "Alpha-VLLM/Lumina-Image-2.0"),
        ("txt_in.text_norm.weight", "qwen-image-2.1", "Qwen/Qwen-Image-2.1"),
    ],
)
def test_files_of_later_denoisers_are_known_with_and_without_comfyuis_prefix(key, kind, hub_id, tmp_path):
    file = tmp_path / "mine.safetensors"
    for name in (key, f"model.diffusion_model.{key}"):
        save_file({name: torch.zeros(1)}, file)
        with pytest.raises(UsageError, match=rf'is a "{kind}" checkpoint .* hf download {hub_id} .* "vae/\*"'):
            load_pipeline(str(file), "float32")


def test_a_file_with_the_configuration_of_another_kind_is_refused(tmp_path):
    file = tmp_path / "mine.safetensors"
    save_file({"txt_norm.weight": torch.zeros(1)}, file)
    with pytest.raises(
        UsageError, match=r'a StableDiffusion3Pipeline, and "qwen-image" files need a QwenImagePipeline'
    ):
        load_pipeline(str(file), "float32", str(EMOJI_SD3))


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
    save_file({"joint_blocks.0.context_block.adaLN_modulation.1.bias": torch.zeros(9216)}, file)
    with pytest.raises(UsageError, match='looks like "unknown"'):
        load_pipeline(str(file), "float32")
