"""What this pack uses of ComfyUI, looked for in one place: names move from release to release."""

from __future__ import annotations

from inspect import signature
from pkgutil import resolve_name
from typing import Any

from ...errors import UsageError

NEEDED: dict[str, str] = {
    "comfy.hooks": "EnumHookType.Weight",
    "comfy.ldm.modules.attention": "attention_pytorch",
    "comfy.model_management": "InterruptProcessingException get_torch_device get_total_memory is_device_cpu "
    "load_models_gpu throw_exception_if_processing_interrupted unload_model_and_clones",
    "comfy.model_patcher": "ModelPatcher",
    "comfy.model_patcher.ModelPatcher": "add_callback clone get_additional_models_with_key get_free_memory "
    "get_model_object is_dynamic model_patches_models remove_injections set_injections "
    "set_model_input_block_patch_after_skip",
    "comfy.model_sampling": "CONST COSMOS_RFLOW EPS X0",
    "comfy.ops": "CastWeightBiasOp cast_bias_weight uncast_bias_weight",
    "comfy.patcher_extension": "CallbacksMP.ON_LOAD PatcherInjection",
    "comfy.quant_ops": "QuantizedTensor",
    "comfy.samplers": "CFGGuider SCHEDULER_NAMES Sampler calculate_sigmas",
    "comfy.samplers.CFGGuider": "sample set_cfg set_conds",
    "comfy.sd": "CLIP VAE load_diffusion_model_state_dict",
    "comfy.sd1_clip": "SDClipModel SDTokenizer",
    "comfy.utils": "ProgressBar common_upscale load_torch_file",
    "comfy.weight_adapter": "BypassInjectionManager WeightAdapterTrainBase adapter_maps",
    "comfy.weight_adapter.BypassInjectionManager": "add_adapter create_injections",
    "comfy_api.latest": "ComfyExtension",
    "comfy_api.latest.io": "AnyType Autogrow Boolean Clip ClipVision Combo ComfyNode Conditioning Custom DynamicCombo "
    "Float Hidden Image Input Int LoraModel LossMap Model NodeOutput Schema Sigmas String Vae",
    "comfy_kitchen.backends.eager": "__all__",
    "folder_paths": "add_model_folder_path base_path get_filename_list get_folder_paths get_full_path "
    "get_input_directory get_output_directory get_temp_directory models_dir",
    "node_helpers": "conditioning_set_values",
    "server": "PromptServer",
    "server.PromptServer": "send_progress_text send_sync",
}
"""Names by their modules, or by the class that has them. What only some models need is looked for when it is used: see
`found`."""

ARGUMENTS = {
    "comfy.model_patcher.ModelPatcher.clone": "disable_dynamic force_deepcopy",
    "comfy.ops.cast_bias_weight": "offloadable",
    "comfy.utils.ProgressBar": "node_id",
}
"""What older releases have without these arguments, which are given by name."""


def check() -> None:
    """Raises UsageError with all that this ComfyUI lacks."""
    names = [f"{module}.{name}" for module, listed in NEEDED.items() for name in listed.split()]
    missing = [name for name in names if not _is_there(name)]
    for name, listed in ARGUMENTS.items():
        known = signature(resolve_name(name)).parameters if _is_there(name) else listed.split()
        missing += [f"{name}(..., {argument})" for argument in listed.split() if argument not in known]
    missing = [name for name in missing if name.rpartition(".")[0] not in missing]  # a class goes with all it has
    if missing:
        raise UsageError(_lack(missing))


def found(name: str) -> Any:
    """A part of ComfyUI by its dotted name. Raises UsageError if this ComfyUI has none."""
    if not _is_there(name):
        raise UsageError(_lack([name]))
    return resolve_name(name)


def _is_there(name: str) -> bool:
    try:
        resolve_name(name)
    except (ImportError, AttributeError):
        return False
    return True


def _lack(names: list[str]) -> str:
    named = _is_there("comfyui_version.__version__")
    version = resolve_name("comfyui_version.__version__") if named else "(of an unknown version)"
    return (
        f"ComfyUI {version} has no {', '.join(names)}, which TreeGRPO uses; update both, and if that does not help, "
        "write to https://github.com/treegrpo/comfyui-treegrpo/issues."
    )
