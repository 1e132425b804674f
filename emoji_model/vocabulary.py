"""The names and styles of `vocabulary.toml`, and the captions made of them."""

from pathlib import Path

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    import tomli as tomllib

_TABLE = tomllib.loads((Path(__file__).parent / "vocabulary.toml").read_text(encoding="utf-8"))

TRAIN: list[str] = _TABLE["names"]["train"]
HELDOUT: list[str] = _TABLE["names"]["heldout"]
NAMES = TRAIN + HELDOUT
STYLES: dict[str, str] = _TABLE["styles"]
UNSEEN: list[str] = _TABLE["unseen"]["sets"]


def slug(name: str, icon_set: str = "") -> str:
    """The key of a name's picture in an icon set, "" where the set has none."""
    usual = _TABLE["slugs"].get(name, name.replace(" ", "-"))
    if icon_set == "fxemoji":
        return _TABLE["fxemoji"].get(name, usual.replace("-", ""))
    return usual


def caption(name: str | None, style: str | None) -> str:
    """ "bear, ink style", "bear", "ink style" or ""."""
    return ", ".join(part for part in (name, style and f"{style} style") if part)
