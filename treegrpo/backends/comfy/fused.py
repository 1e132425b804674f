"""ComfyUI's fused kernels, which have no derivative, and the plain functions of the same package that have one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import comfy_kitchen
from comfy_kitchen.backends import eager

from ..temporarily import temporarily

DIFFERENTIABLE = {
    name: getattr(eager, name)
    for name in eager.__all__
    if name.startswith(("adaln", "apply_rope", "rms_")) and not name.endswith("_") and hasattr(comfy_kitchen, name)
}
"""Norms and rotations, by the names under which ComfyUI's models call them; those that write in place are not here.

comfy_kitchen/backends/eager has them as they are below its custom operators, of which autograd knows nothing.
"""


@contextmanager
def plain_kernels() -> Iterator[None]:
    """A context in which models compute by the plain functions, in rollout and update alike: fused ones round apart."""
    with temporarily(comfy_kitchen, **DIFFERENTIABLE):
        yield
