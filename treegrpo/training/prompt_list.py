"""Prompts as people write them: one a line, or beside the pictures that they change."""

from __future__ import annotations

from pathlib import Path

from ..errors import UsageError
from ..pictures.image_file import pictures_in, read_image
from ..pictures.instruction import Instruction


def prompt_lines(text: str) -> list[str]:
    """The prompts in a text; blank lines and lines that start with # do not count, repeated prompts count once."""
    lines = [line.strip() for line in text.splitlines()]
    return list(dict.fromkeys(line for line in lines if line and not line.startswith("#")))


def instructions_in(folder: Path) -> list[Instruction]:
    """The instructions in a folder: for every picture, such as bear.png, those of bear.txt, each once.

    Raises UsageError when a picture has no words, and when there is no picture.
    """
    found = []
    for picture in pictures_in(folder):
        words = picture.with_suffix(".txt")
        lines = prompt_lines(words.read_text(encoding="utf-8")) if words.exists() else []
        if not lines:
            raise UsageError(f'prompts: "{picture.name}" has no words in "{words.name}" beside it; write them.')
        pixels = read_image(picture)
        found += [Instruction(line, pixels) for line in lines]
    if not found:
        raise UsageError(f'prompts: there is no picture in "{folder.name}"; put pictures and their words there.')
    return list(dict.fromkeys(found))
