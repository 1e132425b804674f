"""Prompts as people write them: one a line."""

from __future__ import annotations


def prompt_lines(text: str) -> list[str]:
    """The prompts in a text; blank lines and lines that start with # do not count, repeated prompts count once."""
    lines = [line.strip() for line in text.splitlines()]
    return list(dict.fromkeys(line for line in lines if line and not line.startswith("#")))
