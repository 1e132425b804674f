"""From workflows as the browser saves them to prompts as it sends them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

NOTES = ("Note", "MarkdownNote")
# Inputs of these types are widgets unless they say forceInput; all others are sockets.
WIDGETS = ("INT", "FLOAT", "BOOLEAN", "STRING", "COMBO", "COMFY_DYNAMICCOMBO_V3")
UPLOADS = ("image_upload", "video_upload", "animated_image_upload")


def ui_to_api(workflow: dict[str, Any], object_info: dict[str, Any]) -> dict[str, Any]:
    """The prompt that the browser would queue for a workflow that it saved, for graphs of plain nodes and notes.

    object_info: all of the server's. A saved node lists its widgets' values without names, in the order in which the
    browser made the widgets; that order is worked out here as the frontend 1.47 does it.

    Raises ValueError for muted or bypassed nodes, for nodes that the server does not know (subgraphs, reroutes and
    primitive nodes are such), and where a node's values do not fit its widgets.
    """
    sources = {link[0]: [str(link[1]), link[2]] for link in workflow["links"]}
    prompt = {}
    for node in workflow["nodes"]:
        if node["type"] in NOTES:
            continue
        try:
            inputs = _inputs(node, object_info)
        except ValueError as error:
            raise ValueError(f"{node['type']} (node {node['id']}) {error}") from None
        linked = {slot["name"]: sources[slot["link"]] for slot in node["inputs"] if slot.get("link") is not None}
        prompt[str(node["id"])] = {"class_type": node["type"], "inputs": inputs | linked}
    return prompt


def _inputs(node: dict[str, Any], object_info: dict[str, Any]) -> dict[str, Any]:
    """The values of a saved node's widgets, by their names in a prompt."""
    if node.get("mode", 0) != 0:
        raise ValueError("is muted or bypassed.")
    if node["type"] not in object_info:
        raise ValueError("is unknown to the server.")
    inputs, order = (object_info[node["type"]][key] for key in ("input", "input_order"))
    specifications = {name: inputs[part][name] for part in ("required", "optional") for name in order.get(part, [])}
    values = iter(node.get("widgets_values") or [])
    named = dict(_widgets(specifications, values))
    if any(_options(specification).get(upload) for specification in specifications.values() for upload in UPLOADS):
        _take(values)  # the button
    if left := list(values):
        raise ValueError(f"has values without a widget: {left}.")
    return named


def _widgets(specifications: dict[str, list[Any]], values: Iterator[Any]) -> Iterator[tuple[str, Any]]:
    """Name and value of each widget."""
    for name, specification in specifications.items():
        kind = "COMBO" if isinstance(specification[0], list) else specification[0]
        options = _options(specification)
        if kind not in WIDGETS or options.get("forceInput"):
            continue
        value = _take(values)
        # A bare list would be taken for a link.
        yield name, {"__value__": value} if isinstance(value, list) else value
        for _ in range(_controls(name, kind, options)):
            _take(values)
        if kind == "COMFY_DYNAMICCOMBO_V3":
            [chosen] = [option["inputs"] for option in options["options"] if option["key"] == value]
            parts = chosen.get("required", {}) | chosen.get("optional", {})
            yield from _widgets({f"{name}.{part}": parts[part] for part in parts}, values)


def _controls(name: str, kind: str, options: dict[str, Any]) -> int:
    """How many widgets that change the value after each run follow the widget; a prompt does not have them."""
    wanted = options.get("control_after_generate")
    if wanted is None and kind == "INT":
        wanted = name in ("seed", "noise_seed")
    if not wanted:
        return 0
    return 2 if kind == "COMBO" else 1


def _options(specification: list[Any]) -> dict[str, Any]:
    return specification[1] if len(specification) > 1 else {}


def _take(values: Iterator[Any]) -> Any:
    for value in values:
        return value
    raise ValueError("has fewer values than widgets.")
