"""Save Run and Load Run: a policy in a run folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import folder_paths
import torch
from comfy_api.latest import io

from ..treegrpo.backends.comfy.adapters import AdapterSettings
from ..treegrpo.errors import UsageError
from ..treegrpo.run import lora_file
from ..treegrpo.run.folder import RunFolder
from ..treegrpo.run.state import RunState
from .run_folders import publish, run_path, validate_name
from .say import say
from .sockets import CATEGORY, PolicySocket, PolicyValue


class SaveRun(io.ComfyNode):
    """Writes a policy, with the optimiser's memory, into a run folder."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """See io.ComfyNode."""
        return io.Schema(
            node_id="TreeGRPO_SaveRun",
            display_name="TreeGRPO Save Run",
            category=CATEGORY,
            description="Saves a policy so that Load Run can go on from it, and its LoRA so that Load LoRA finds it.",
            search_aliases=["save policy", "checkpoint"],
            inputs=[
                PolicySocket.Input("policy", tooltip="From Update LoRA."),
                io.String.Input("run", default="step by step", tooltip="Name of the run."),
            ],
            outputs=[io.String.Output(display_name="lora name", tooltip="The file's name in Load LoRA.")],
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
        )

    @classmethod
    def validate_inputs(cls, run: str | None = None) -> bool | str:
        """See validate_name."""
        return validate_name(run)

    @classmethod
    def execute(cls, policy: PolicyValue, run: str) -> io.NodeOutput:
        """See io.ComfyNode. Raises UsageError when the run there is further than this policy."""
        adapter, state = policy.adapter, policy.state
        if not state.adapter:
            raise UsageError("policy: it has not been trained, so there is nothing to save; connect an Update LoRA.")
        with RunFolder(run_path(run), resume=True) as folder:
            there = RunState.read(folder).iteration
            if there > state.iteration:
                raise UsageError(
                    f'run: "{run}" has {there} iterations already and this policy {state.iteration}; '
                    "choose another name, or load that run to go on from it."
                )
            facts = {"kind": adapter.kind, "targets": adapter.targets, "iterations": state.iteration}
            lora_file.write(folder.lora_file, state.average or state.adapter, adapter.rank, adapter.alpha, facts)
            state.write(folder)
            name = publish(folder)
        text = f"{state.iteration} iterations, LoRA:\n{name}"
        say(text, cls.hidden.unique_id)
        return io.NodeOutput(name, ui={"text": (text,)})


class LoadRun(io.ComfyNode):
    """Reads a policy back from its run folder."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """See io.ComfyNode."""
        return io.Schema(
            node_id="TreeGRPO_LoadRun",
            display_name="TreeGRPO Load Run",
            category=CATEGORY,
            description="The policy of a saved run, on the model that it was trained on.",
            search_aliases=["load policy", "resume", "continue"],
            inputs=[
                io.Model.Input("model", tooltip="The same model as then, with the same LoRAs and patches."),
                io.Combo.Input("run", options=_runs(), tooltip="A run in output/treegrpo; press R to see new ones."),
            ],
            outputs=[
                PolicySocket.Output(display_name="policy", tooltip="For Train, Sample Tree or Update LoRA."),
                io.LoraModel.Output(display_name="lora", tooltip="For the stock Load LoRA Model."),
                io.Int.Output(display_name="iteration", tooltip="The next one; for Sample Tree."),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, run: str, **_: Any) -> float:
        """A run that went on counts as changed."""
        file = run_path(run) / "state.safetensors"
        return file.stat().st_mtime if file.exists() else 0.0

    @classmethod
    def execute(cls, model: Any, run: str) -> io.NodeOutput:
        """See io.ComfyNode."""
        # The optimiser changes its moments in place, which tensors of inference mode do not allow.
        with RunFolder(run_path(run), resume=True) as folder, torch.inference_mode(False):
            state = RunState.read(folder)
            _, facts = lora_file.read(folder.lora_file)
        policy = PolicyValue(model, AdapterSettings.of_file(facts), recompute=True, state=state)
        return io.NodeOutput(policy, state.average or state.adapter, state.iteration)


def _runs() -> list[str]:
    folder = Path(folder_paths.get_output_directory()) / "treegrpo"
    return sorted(file.parent.name for file in folder.glob("*/state.safetensors"))
