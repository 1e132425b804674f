"""The run behind `treegrpo demo`, which benchmarks start from, too."""

from __future__ import annotations

from ..bundled import DEMO_CONFIG
from ..errors import UsageError
from .config import Config
from .config_file import read_config

STYLES = ("ink", "flat", "glossy", "noto")


def demo_config(taste: str) -> Config:
    """The bundled configuration with `taste` filled in. Raises UsageError for a style the model does not know."""
    if taste not in STYLES:
        raise UsageError(f'--taste: "{taste}" is not a style of the bundled model; choose {", ".join(STYLES)}.')
    config = read_config(DEMO_CONFIG)
    [reward] = config.rewards
    template = reward.options["template"].replace("{taste}", taste)
    return config.model_copy(update={"rewards": [reward.model_copy(update={"options": {"template": template}})]})
