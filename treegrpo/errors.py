"""The two ways in which a run can end badly, each carrying one sentence for the person who started it."""

from collections.abc import Iterable


class UsageError(ValueError):
    """What was asked for cannot be done; the message says where it was asked and what to change (exit code 2)."""


class RunError(RuntimeError):
    """What was asked for is fine, but it failed; the message says what failed and what to do (exit code 1)."""


def first_line(error: Exception) -> str:
    """What an error of a library says, without its advice on how to write Python."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def check_known(key: str, value: str, known: Iterable[str]) -> str:
    """`value`, if it is one of the known names. Raises UsageError naming `key` and the known names."""
    if value not in known:
        raise UsageError(f'{key}: "{value}" is unknown; choose one of {", ".join(known)}.')
    return value
