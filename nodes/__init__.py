"""The nodes of the extension, one file per idea."""

from comfy_api.latest import ComfyExtension, io

from . import routes as routes  # registers what the widget asks the server
from .advantage import Advantage
from .demo_model import DemoModel
from .lora_policy import LoraPolicy
from .moodboard import Moodboard
from .preview_tree import PreviewTree
from .prompts import PromptList
from .reward import Reward
from .run import LoadRun, SaveRun
from .sample_tree import SampleTree
from .score import Score
from .train import Train
from .tree_plan import Plan
from .update_lora import UpdateLora


class TreeGRPO(ComfyExtension):
    """What ComfyUI asks for the nodes."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        """Every node of this pack."""
        return [
            DemoModel,
            PromptList,
            Plan,
            LoraPolicy,
            Reward,
            Moodboard,
            Train,
            SampleTree,
            Score,
            Advantage,
            UpdateLora,
            PreviewTree,
            SaveRun,
            LoadRun,
        ]
