"""Preview Tree: a grown tree as pictures."""

from __future__ import annotations

import folder_paths
import torch
from comfy_api.latest import io

from ..treegrpo.backends.comfy.policy import decode
from ..treegrpo.errors import UsageError
from ..treegrpo.run.tree_record import generations, record, save_tree
from .run_folders import new_preview
from .say import sheet
from .sockets import CATEGORY, TreeSocket, TreeValue


class PreviewTree(io.ComfyNode):
    """Draws the trees from noise to leaves."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """See io.ComfyNode."""
        return io.Schema(
            node_id="TreeGRPO_PreviewTree",
            display_name="TreeGRPO Preview Tree",
            category=CATEGORY,
            description="The trees from noise to leaves, edges coloured by their advantage. Click a picture to see "
            "how it came about, and two to compare them.",
            search_aliases=["show tree", "view tree", "contact sheet"],
            inputs=[
                TreeSocket.Input("tree", tooltip="From Sample Tree, Score or Advantage."),
                io.Int.Input(
                    "prompt", default=0, min=0, max=4095, tooltip="Which of the prompts is shown first, from 0."
                ),
            ],
            outputs=[io.Image.Output(display_name="leaves", tooltip="The leaves of this prompt, best first.")],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, tree: TreeValue, prompt: int) -> io.NodeOutput:
        """See io.ComfyNode. Raises UsageError where matplotlib is missing."""
        try:
            from ..treegrpo.pictures.tree_picture import save_tree_picture
        except ImportError as error:
            raise UsageError(
                "Preview Tree draws with matplotlib, which is not installed: run "
                "pip install -r requirements.txt in this pack's folder with ComfyUI's Python, then restart."
            ) from error
        grown, vae = tree.tree, tree.drawing.vae
        prompt = prompt % len(grown.prompts)
        with torch.inference_mode(False), torch.no_grad():
            inner = [decode(tree.model, vae, grown.denoised[level]) for level in generations(grown.plan)[:-1]]
            images = torch.cat([*inner, tree.images])
            leaves = _best_first(tree, prompt)
        folder = new_preview()
        about = save_tree(folder / "trees", "0", record(grown, 0), images)
        save_tree_picture([folder / "tree.png"], about, images, prompt)
        sheet(leaves).save(folder / "leaves.png")
        inside = folder.relative_to(folder_paths.get_temp_directory()).as_posix()
        shown = [{"filename": f"{part}.png", "subfolder": inside, "type": "temp"} for part in ("tree", "leaves")]
        return io.NodeOutput(leaves, ui={"images": shown, "treegrpo": [{"run": folder.name, "tree": 0}]})


def _best_first(tree: TreeValue, prompt: int) -> torch.Tensor:
    """The leaf images of one prompt [leaves, H, W, 3], by advantage or else by the first reward, if there is one."""
    leaves = tree.images.unflatten(0, (len(tree.tree.prompts), -1))[prompt]
    scores = tree.tree.leaf_advantages
    if scores is None:
        scores = next(iter(tree.tree.rewards.values()), None)
    return leaves if scores is None else leaves[scores[prompt].argsort(descending=True)]
