"""Text files as editors write them."""

from __future__ import annotations

from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from pathlib import Path

from ..errors import UsageError


def read_text(path: Path, key: str) -> str:
    """The text in a file in UTF-8, or in UTF-16 with its mark; a mark at its beginning is not part of it.

    key: the setting that names the file. Raises UsageError when it cannot be read, and for other encodings.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UsageError(f'{key}: "{path}" cannot be read ({error.strerror}).') from error
    marked = data.startswith((BOM_UTF16_LE, BOM_UTF16_BE))
    try:
        text = data.decode("utf-16" if marked else "utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:  # as in UTF-16 without its mark
        raise UsageError(f'{key}: "{path}" is not in UTF-8; save it as UTF-8.')
    return text
