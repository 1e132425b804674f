"""Files that people write: the TOML file of a run and lists of prompts."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from ..errors import UsageError
from .config import Config, make_table
from .prompt_list import instructions_in, prompt_lines

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def read_config(path: Path) -> Config:
    """The configuration in a TOML file; relative prompt and model paths are taken from the file's folder.

    Raises UsageError naming the file, the key and what to write instead.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")  # some editors begin with a byte order mark
        tables = tomllib.loads(text)
    except OSError as error:
        raise UsageError(f'--config: "{path}" cannot be read ({error.strerror}).') from error
    except UnicodeDecodeError as error:
        raise UsageError(f'--config: "{path}" is not in UTF-8 ({error}); save it so.') from error
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


def read_prompts(source: Path | str | list[str]) -> list[str]:
    """The prompts of a text file, one a line, or of a folder, see instructions_in. A list is itself.

    Raises UsageError when the file cannot be read, and when there is no prompt.
    """
    if isinstance(source, list):
        if not source:
            raise UsageError("prompts: the list is empty; write at least one prompt.")
        return source
    if Path(source).is_dir():
        return list(instructions_in(Path(source)))
    try:
        text = Path(source).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f'prompts: "{source}" cannot be read as a text file ({error}).') from error
    prompts = prompt_lines(text)
    if not prompts:
        raise UsageError(f'prompts: "{source}" holds no prompt; write one a line.')
    return prompts


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
