"""ComfyUI's settings that change what its page looks like."""

from __future__ import annotations

from typing import Any

import pytest

NODES_2 = "Comfy.VueNodes.Enabled"
PALETTE = "Comfy.ColorPalette"
# All that any test sets, since the server keeps it from test to test.
DEFAULTS: dict[str, Any] = {
    "Comfy.TutorialCompleted": True,  # or the template browser opens by itself
    "Comfy.Minimap.Visible": False,  # or it lies over the nodes
    NODES_2: False,
    PALETTE: "dark",
}

in_nodes_2 = pytest.mark.parametrize("settings", [{NODES_2: True}], ids=["nodes 2"])
canvas_and_nodes_2 = pytest.mark.parametrize("settings", [{}, {NODES_2: True}], ids=["canvas", "nodes 2"])
light = pytest.mark.parametrize("settings", [{PALETTE: "light"}], ids=["light"])
