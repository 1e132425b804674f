"""Prompts as people write them: one a line, in a table, or beside the pictures that they change."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from ..errors import UsageError
from ..pictures.image_file import pictures_in, read_image
from ..pictures.instruction import Instruction
from .text_file import read_text

COLUMNS = ("prompt", "text", "caption")
"""Of tables, in any case; the first that is there has the prompts."""
SEPARATOR = "---"
MARKS = "\ufeff\u200b\u2060\u200e\u200f"
"""What editors and websites leave at the ends of lines, where nobody sees it."""
BREAKS = re.compile("[\v\f\x1c-\x1e\x85\u2028\u2029]+")
"""What breaks lines for some programs, but not in a list of prompts."""


def read_prompts(source: Path | str | list[str]) -> list[str]:
    """The prompts of a file or a folder, see prompts_in. A list is itself. Raises UsageError when there is none."""
    if isinstance(source, list):
        if not source:
            raise UsageError("prompts: the list is empty; write at least one prompt.")
        return source
    return prompts_in(Path(source))


def prompts_in(path: Path) -> list[str]:
    """The prompts of a text file (see prompt_lines), of a table (.json, .jsonl, .csv, .tsv) or of a folder.

    A table has them in the column prompt, text or caption, or in its only column of texts. Repeated ones count once.
    Raises UsageError when there is no prompt, and for what cannot be read.
    """
    if path.is_dir():
        return list(instructions_in(path))
    text, table = read_text(path, "prompts"), TABLES.get(path.suffix.lower())
    prompts = prompt_lines(text) if table is None else _of_table(path.name, table, text)
    if not prompts:
        raise UsageError(f'prompts: "{path}" holds no prompt; write one a line.')
    return prompts


def prompt_lines(text: str) -> list[str]:
    """The prompts in a text, one a line; or, where a line of three dashes separates them, of several lines each.

    Blank lines and lines that start with # do not count, repeated prompts count once.
    """
    lines = [_clean(line) for line in re.split("\r\n|\r|\n", text)]
    told = [line for line in lines if line and not line.startswith("#")]
    if SEPARATOR in told:
        blocks = groupby(told, key=lambda line: line == SEPARATOR)
        told = ["\n".join(block) for between, block in blocks if not between]
    return list(dict.fromkeys(told))


def instructions_in(folder: Path) -> list[Instruction]:
    """The instructions in a folder: for every picture, such as bear.png, those of bear.txt, each once.

    Raises UsageError when a picture has no words, and when there is no picture.
    """
    found = []
    for picture in pictures_in(folder):
        words = picture.with_suffix(".txt")
        lines = prompt_lines(read_text(words, "prompts")) if words.exists() else []
        if not lines:
            raise UsageError(f'prompts: "{picture.name}" has no words in "{words.name}" beside it; write them.')
        pixels = read_image(picture)
        found += [Instruction(line, pixels) for line in lines]
    if not found:
        raise UsageError(f'prompts: there is no picture in "{folder.name}"; put pictures and their words there.')
    return list(dict.fromkeys(found))


def _clean(line: str) -> str:
    return BREAKS.sub(" ", line).strip(f" \t{MARKS}")


def _of_table(name: str, read: Callable[[str], Any], text: str) -> list[str]:
    """The prompts in a table. Raises UsageError when it has no column of them."""
    try:
        rows = read(text)
    except (ValueError, RecursionError, csv.Error) as error:
        raise UsageError(f'prompts: "{name}" cannot be read as what its name says it is ({error}).') from error
    if not isinstance(rows, list) or not all(isinstance(row, str | dict) for row in rows):
        raise UsageError(f'prompts: "{name}" is no list of prompts, nor of rows that have one; write such a list.')
    records = [row for row in rows if isinstance(row, dict)]
    column = _column(name, records) if records else ""
    prompts = [row if isinstance(row, str) else row.get(column) for row in rows]
    for number, prompt in enumerate(prompts, 1):
        if not isinstance(prompt, str):
            raise UsageError(f'prompts: row {number} of "{name}" has no text under "{column}"; write one there.')
    return list(dict.fromkeys(prompt for prompt in map(_clean, prompts) if prompt))


def _column(name: str, rows: Sequence[Mapping[Any, Any]]) -> str:
    """The column that has the prompts. Raises UsageError when that is not clear."""
    columns = list(dict.fromkeys(str(key) for row in rows for key in row))
    for wanted in COLUMNS:
        for column in columns:
            if _clean(column).lower() == wanted:
                return column
    texts = [column for column in columns if all(isinstance(row.get(column), str) for row in rows)]
    if len(texts) != 1:
        raise UsageError(
            f'prompts: "{name}" has none of the columns {", ".join(COLUMNS)}, nor one column of texts alone (it has '
            f'{", ".join(columns)}); call the one that has the prompts "prompt".'
        )
    return texts[0]


def _separated(by: str) -> Callable[[str], list[dict[str, str]]]:
    """A reader of tables whose first row names the columns."""
    return lambda text: list(csv.DictReader(io.StringIO(text, newline=""), delimiter=by))


def _json_lines(text: str) -> list[Any]:
    return [json.loads(line) for line in text.split("\n") if line.strip()]


TABLES: dict[str, Callable[[str], Any]] = {
    ".json": json.loads,
    ".jsonl": _json_lines,
    ".csv": _separated(","),
    ".tsv": _separated("\t"),
}
"""Readers by the ends of files' names."""
