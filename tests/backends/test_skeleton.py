"""Pipelines without weights, from folders that are not as they should be."""

import json
import shutil

import pytest
import torch

from tests.backends.pipelines import tiny_pipeline
from treegrpo.backends.skeleton import skeleton
from treegrpo.bundled import EMOJI_SD3
from treegrpo.errors import UsageError


@pytest.fixture
def folder(tmp_path):
    """A copy of the bundled pipeline."""
    return shutil.copytree(EMOJI_SD3, tmp_path / "pipeline")


def test_a_part_without_configuration_is_named(folder):
    (folder / "vae" / "config.json").unlink()
    with pytest.raises(
        UsageError, match=r"^model\.path: the configuration of .*pipeline\" .* config\.json .*pipeline/vae"
    ):
        skeleton(str(folder), torch.float32)


def test_settings_of_the_pipeline_itself_are_no_parts(folder):
    """Such as the levels that the author of a Qwen-Image 2.1 has chosen."""
    index = json.loads((folder / "model_index.json").read_text())
    index |= {"sample_sigmas": [1.0, 0.5], "more": [1.0, 0.7, 0.3], "is_distilled": False}
    (folder / "model_index.json").write_text(json.dumps(index))
    assert skeleton(str(folder), torch.float32).transformer.device.type == "meta"


def test_a_distilled_model_is_one_without_weights_too(tmp_path):
    """Such as FLUX.2-klein, whose network runs once per picture at any guidance."""
    pipeline = tiny_pipeline("flux2_klein")
    pipeline.register_to_config(is_distilled=True)
    pipeline.save_pretrained(tmp_path)
    assert skeleton(str(tmp_path), torch.float32).config.is_distilled


def test_a_part_whose_class_is_not_there_is_named(folder):
    index = json.loads((folder / "model_index.json").read_text())
    index["transformer"] = ["diffusers", "TransformerOfTomorrow"]
    (folder / "model_index.json").write_text(json.dumps(index))
    with pytest.raises(UsageError, match=r"^model\.path: the configuration of .*TransformerOfTomorrow"):
        skeleton(str(folder), torch.float32)
