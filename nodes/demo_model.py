"""Demo Model: the bundled emoji model, so that everything can be tried without a download."""

from comfy_api.latest import io

from ..treegrpo.backends.comfy import bundled_model
from .sockets import CATEGORY


class DemoModel(io.ComfyNode):
    """Loads the bundled model."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """See io.ComfyNode."""
        return io.Schema(
            node_id="TreeGRPO_DemoModel",
            display_name="TreeGRPO Demo Model",
            category=CATEGORY,
            description="A tiny Stable Diffusion 3 that comes with this pack. It draws emoji of 64 x 64 pixels: "
            'prompts are "bear" or "bear, ink style". Works with the stock nodes.',
            search_aliases=["emoji model", "tiny sd3", "treegrpo example checkpoint"],
            outputs=[io.Model.Output(), io.Clip.Output(), io.Vae.Output()],
        )

    @classmethod
    def execute(cls) -> io.NodeOutput:
        """See io.ComfyNode."""
        return io.NodeOutput(*bundled_model.load())
