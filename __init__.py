"""TreeGRPO for ComfyUI: the entry that ComfyUI loads."""

from typing import Any

WEB_DIRECTORY = "./web/dist"


async def comfy_entrypoint() -> Any:
    """The extension with its nodes; imported here, so that the repository is a plain folder to everything else."""
    from .nodes import TreeGRPO

    return TreeGRPO()
