"""Other values of an object's attributes, for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def temporarily(thing: object, **values: Any) -> Iterator[None]:
    """A context in which attributes of `thing` have these values; they get back those that they had before."""
    before = {name: getattr(thing, name) for name in values}
    vars(thing).update(values)
    try:
        yield
    finally:
        vars(thing).update(before)
