import pytest
import torch

from treegrpo.backends.architectures import ARCHITECTURES, HUB_IDS, build
from treegrpo.errors import UsageError

CLIP_L, CLIP_G, T5, VAE = 123_060_480, 694_659_840, 4_762_310_656, 83_653_863
WEIGHTS = {
    "sd15": {"unet": 859_520_964, "text_encoder": CLIP_L, "vae": VAE},
    "sdxl": {"unet": 2_567_463_684, "text_encoder": CLIP_L, "text_encoder_2": CLIP_G, "vae": VAE},
    "sd35_medium": {"transformer": 2_243_171_520, "text_encoder_2": CLIP_G, "text_encoder_3": T5},
    "flux_dev": {"transformer": 11_901_408_320, "text_encoder": CLIP_L, "text_encoder_2": T5},
    "z_image_turbo": {"transformer": 6_154_908_736, "text_encoder": 4_022_468_096},
}
"""Numbers of weights of the published models."""


@pytest.mark.parametrize("name", WEIGHTS)
def test_networks_have_as_many_weights_as_the_published_ones(name):
    pipeline = build(name, torch.device("meta"), torch.bfloat16)
    for part, expected in WEIGHTS[name].items():
        weights = list(getattr(pipeline, part).parameters())
        assert sum(weight.numel() for weight in weights) == expected, part
        assert {weight.dtype for weight in weights} == {torch.bfloat16}


def test_every_architecture_has_a_home():
    assert set(HUB_IDS.values()) == set(ARCHITECTURES) == set(WEIGHTS)


def test_unknown_names_list_the_known_ones():
    with pytest.raises(UsageError, match="sd15, sdxl, sd35_medium, flux_dev, z_image_turbo"):
        build("sd16", torch.device("meta"), torch.bfloat16)
