"""The English locale file, made from what the server tells the browser about this pack's nodes.

Run `python -m comfyui.locale [--server http://127.0.0.1:8188]` while `make comfyui` runs, after changing a node.
Translations start from a copy of the file.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import urllib.request
from collections.abc import Iterator
from typing import Any

from .serve import REPOSITORY

FILE = REPOSITORY / "locales" / "en" / "nodeDefs.json"
PREFIX = "TreeGRPO_"


def node_definitions(object_info: dict[str, Any]) -> dict[str, Any]:
    """The content of nodeDefs.json: names and descriptions of this pack's nodes, their inputs and their outputs."""
    return {name: _node(info) for name, info in object_info.items() if name.startswith(PREFIX)}


def file_text(definitions: dict[str, Any]) -> str:
    """The definitions as the file holds them."""
    return json.dumps(definitions, indent=2, ensure_ascii=False) + "\n"


def _node(info: dict[str, Any]) -> dict[str, Any]:
    tooltips = info["output_tooltips"] or [None] * len(info["output_name"])
    return {
        "display_name": _message(info["display_name"]),
        "description": _message(info["description"]),
        "inputs": dict(_inputs(info["input"])),
        "outputs": {
            str(index): _entry(name, tooltip)
            for index, (name, tooltip) in enumerate(zip(info["output_name"], tooltips, strict=True))
        },
    }


def _inputs(inputs: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, dict[str, str]]]:
    """Key and entry of each input; the frontend looks for an input of a DynamicCombo's option under combo_input."""
    for part in ("required", "optional"):
        for name, (kind, *rest) in inputs.get(part, {}).items():
            options = rest[0] if rest else {}
            yield f"{prefix}{name}", _entry(options.get("display_name", name), options.get("tooltip"))
            if kind == "COMFY_DYNAMICCOMBO_V3":
                yield from _shared(
                    [dict(_inputs(option["inputs"], f"{prefix}{name}_")) for option in options["options"]]
                )


def _shared(options: list[dict[str, dict[str, str]]]) -> Iterator[tuple[str, dict[str, str]]]:
    """The entries of all options, without those in which options disagree."""
    for key in dict.fromkeys(key for option in options for key in option):
        entries = [option[key] for option in options if key in option]
        if all(entry == entries[0] for entry in entries):
            yield key, entries[0]


def _entry(name: str, tooltip: str | None) -> dict[str, str]:
    """Tooltips are shown as they are, all else is a message."""
    return {"name": _message(name)} | ({"tooltip": tooltip} if tooltip else {})


def _message(text: str) -> str:
    """The text with the characters quoted that mean something to vue-i18n."""
    return re.sub(r"[{}@$|]", r"{'\g<0>'}", text)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m comfyui.locale", description=__doc__.partition("\n")[0])
    parser.add_argument("--server", default="http://127.0.0.1:8188", help="a running ComfyUI (default: %(default)s)")
    options = parser.parse_args()
    # The server is on this machine, whatever proxy the environment names.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{options.server}/object_info", timeout=60) as answer:
            object_info = json.load(answer)
    except OSError as error:
        sys.exit(f"comfyui: no ComfyUI at {options.server} ({error}); start one with make comfyui.")
    FILE.parent.mkdir(parents=True, exist_ok=True)
    FILE.write_text(file_text(node_definitions(object_info)), encoding="utf-8")


if __name__ == "__main__":
    main()
