"""The TOML file of a run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from ..errors import UsageError
from .config import Config, make_table
from .text_file import read_text

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def read_config(path: Path) -> Config:
    """The configuration in a TOML file; relative prompt and model paths are taken from the file's folder.

    Raises UsageError naming the file, the key and what to write instead.
    """
    text = read_text(path, "--config")
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        hint = "; write paths with / or in 'single quotes'" if "\\" in text else ""
        raise UsageError(f'--config: "{path}" is not valid TOML ({error}){hint}.') from error
    return _beside(parse_config(tables, str(path)), path.parent)


def parse_config(tables: dict[str, Any], source: str) -> Config:
    """Validate tables into a Config. Raises UsageError for the first thing that is wrong."""
    try:
        return make_table(Config, **tables)
    except UsageError as error:
        raise UsageError(f"{source}: {error}") from error


def _beside(config: Config, folder: Path) -> Config:
    """The same configuration with paths that exist beside the file made whole."""

    def whole(path: Any) -> Any:
        return str((folder / path).resolve()) if isinstance(path, str) and (folder / path).exists() else path

    return config.model_copy(
        update={
            "model": config.model.model_copy(
                update={"path": whole(config.model.path), "config": whole(config.model.config)}
            ),
            "lora": config.lora.model_copy(update={"continue_from": whole(config.lora.continue_from)}),
            "train": config.train.model_copy(update={"prompts": whole(config.train.prompts)}),
            "evaluation": config.evaluation.model_copy(update={"prompts": whole(config.evaluation.prompts)}),
        }
    )
