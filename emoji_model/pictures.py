"""Emoji from npm packages, drawn as 64 x 64 pictures on white."""

import io
import json
import re
import subprocess
from pathlib import Path

import numpy as np
import resvg_py
from PIL import Image

from emoji_model.vocabulary import NAMES, STYLES, UNSEEN, slug

SIZE = 64
PACKAGES = {
    "@iconify-json/noto": "1.2.9",
    "@iconify-json/noto-v1": "1.2.5",
    "@iconify-json/fluent-emoji": "1.2.7",
    "@iconify-json/fluent-emoji-flat": "1.2.6",
    "@iconify-json/fluent-emoji-high-contrast": "1.2.6",
    "@iconify-json/fxemoji": "1.2.2",
    "emojibase-data": "17.0.0",
}
# Names that say too little about their picture, or of which there are dozens alike.
_DULL = re.compile(r"skin|keycap|oclock|thirty|japanese-.*button|^(wo)?man-|^person-|^input-|flag-")


def fetch(folder: Path) -> Path:
    """Install the packages with npm and return their node_modules."""
    folder.mkdir(parents=True, exist_ok=True)
    wanted = [f"{name}@{version}" for name, version in PACKAGES.items()]
    if not all((folder / "node_modules" / name).is_dir() for name in PACKAGES):
        subprocess.run(["npm", "install", "--prefix", str(folder), "--no-audit", "--no-fund", *wanted], check=True)
    return folder / "node_modules"


def icons(modules: Path, icon_set: str) -> dict[str, str]:
    """Slug -> SVG text for every icon and alias of a set."""
    table = json.loads((modules / "@iconify-json" / icon_set / "icons.json").read_text(encoding="utf-8"))
    drawn = dict(table["icons"])
    drawn |= {alias: drawn[e["parent"]] for alias, e in table.get("aliases", {}).items() if e["parent"] in drawn}
    svgs = {}
    for key, icon in drawn.items():
        width = icon.get("width", table.get("width", 16))
        height = icon.get("height", table.get("height", 16))
        body = icon["body"].replace("currentColor", "black")
        head = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
        svgs[key] = f'<svg {head} viewBox="0 0 {width} {height}">{body}</svg>'
    return svgs


def draw(svg: str) -> np.ndarray:
    """An SVG on white, uint8 [64, 64, 3]."""
    png = Image.open(io.BytesIO(resvg_py.svg_to_bytes(svg_string=svg, width=SIZE, height=SIZE))).convert("RGBA")
    page = Image.new("RGBA", (SIZE, SIZE), "white")
    page.alpha_composite(
        png.crop((0, 0, SIZE, SIZE)),
        ((SIZE - min(png.width, SIZE)) // 2, (SIZE - min(png.height, SIZE)) // 2),
    )
    return np.asarray(page.convert("RGB"))


def labels(modules: Path) -> list[str]:
    """English emoji labels and tags, the text that the tokenizer learns from besides the names."""
    table = json.loads((modules / "emojibase-data" / "en" / "compact.json").read_text(encoding="utf-8"))
    return [text for emoji in table for text in [emoji["label"], *emoji.get("tags", [])]]


def render(modules: Path, out: Path) -> None:
    """Write pictures.npz.

    vocabulary  uint8 [80, 4, 64, 64, 3]: name by style
    unseen      uint8 [80, 2, 64, 64, 3]: name by unseen set, and unseen_found bool [80, 2]
    others      uint8 [n, 4, 64, 64, 3]: further names by style, and other_names [n]
    """
    sets = {icon_set: icons(modules, icon_set) for icon_set in [*STYLES.values(), *UNSEEN]}
    vocabulary = [[draw(sets[s][slug(name, s)]) for s in STYLES.values()] for name in NAMES]

    blank = np.zeros((SIZE, SIZE, 3), np.uint8)
    found = [[bool(slug(name, s)) for s in UNSEEN] for name in NAMES]
    unseen = [[draw(sets[s][slug(name, s)]) if slug(name, s) else blank for s in UNSEEN] for name in NAMES]

    shared = set.intersection(*(set(sets[s]) for s in STYLES.values()))
    taken = {slug(name) for name in NAMES} | {name.replace(" ", "-") for name in NAMES}
    further = sorted(s for s in shared - taken if not _DULL.search(s))
    others = [[draw(sets[s][key]) for s in STYLES.values()] for key in further]
    np.savez_compressed(
        out,
        vocabulary=np.array(vocabulary),
        unseen=np.array(unseen),
        unseen_found=np.array(found),
        others=np.array(others),
        other_names=np.array([key.replace("-", " ") for key in further]),
    )


def grid(pictures: np.ndarray, path: Path, scale: int = 1) -> None:
    """Save uint8 [rows, columns, height, width, 3] as one PNG."""
    rows, columns, height, width, _ = pictures.shape
    sheet = pictures.transpose(0, 2, 1, 3, 4).reshape(rows * height, columns * width, 3)
    picture = Image.fromarray(sheet)
    picture.resize((picture.width * scale, picture.height * scale), Image.Resampling.NEAREST).save(path)
