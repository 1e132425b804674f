"""TreeGRPO for ComfyUI: the entry that ComfyUI loads."""

from typing import Any

WEB_DIRECTORY = "./web/dist"


async def comfy_entrypoint() -> Any:
    """The extension with its nodes; imported here, so that the repository is a plain folder to everything else.

    Raises UsageError, which ComfyUI writes to its log, if ComfyUI lacks what the nodes need.
    """
    from .treegrpo.backends.comfy.needed import check

    check()  # before the nodes, whose imports fail with less to say

    from .nodes import TreeGRPO

    return TreeGRPO()
