"""Well-known models in their true sizes with random weights: what they cost can be measured where they are not at hand.

The configurations are those that the models are published with; tests compare the numbers of their weights.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    DiffusionPipeline,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
    ZImagePipeline,
    ZImageTransformer2DModel,
)
from transformers import (
    AutoTokenizer,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    Qwen3Config,
    Qwen3Model,
    T5Config,
    T5EncoderModel,
)

from ..bundled import EMOJI_SD3
from ..errors import check_known

SD15_UNET: dict[str, Any] = {"sample_size": 64, "cross_attention_dim": 768, "attention_head_dim": 8}
SDXL_UNET: dict[str, Any] = {
    "sample_size": 128,
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "block_out_channels": (320, 640, 1280),
    "transformer_layers_per_block": (1, 2, 10),
    "attention_head_dim": (5, 10, 20),
    "cross_attention_dim": 2048,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}
SD35_MEDIUM_TRANSFORMER: dict[str, Any] = {
    "sample_size": 128,
    "patch_size": 2,
    "in_channels": 16,
    "out_channels": 16,
    "num_layers": 24,
    "num_attention_heads": 24,
    "attention_head_dim": 64,
    "joint_attention_dim": 4096,
    "caption_projection_dim": 1536,
    "pooled_projection_dim": 2048,
    "pos_embed_max_size": 384,
    "dual_attention_layers": tuple(range(13)),
    "qk_norm": "rms_norm",
}
FLUX_TRANSFORMER: dict[str, Any] = {"guidance_embeds": True}
"""All else is diffusers' default, as all of Z-Image's is."""
QWEN3_4B: dict[str, Any] = {
    "vocab_size": 151_936,
    "hidden_size": 2560,
    "intermediate_size": 9728,
    "num_hidden_layers": 36,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "tie_word_embeddings": True,
}
CHAT = "{% for each in messages %}{{ each.content }}{% endfor %}"
"""For tokenizers that have no words for who speaks."""


def build(name: str, device: torch.device, dtype: torch.dtype) -> DiffusionPipeline:
    """The pipeline called `name` on a device (`meta`: shapes alone), with random weights and the bundled tokenizers.

    Raises UsageError for an unknown name.
    """
    check_known("architecture", name, ARCHITECTURES)
    with torch.random.fork_rng(devices=[]), torch.device(device):
        torch.manual_seed(0)
        pipeline = ARCHITECTURES[name]()
    for part in pipeline.components.values():
        if isinstance(part, torch.nn.Module):
            part.eval().to(device=device, dtype=dtype)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def _sd15() -> DiffusionPipeline:
    return StableDiffusionPipeline(
        vae=_vae(4, 0.18215, sample_size=512),
        text_encoder=_clip_l(CLIPTextModel),
        tokenizer=_clip_tokenizer(),
        unet=UNet2DConditionModel(**SD15_UNET),
        scheduler=_discrete_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def _sdxl() -> DiffusionPipeline:
    return StableDiffusionXLPipeline(
        vae=_vae(4, 0.13025, sample_size=1024, force_upcast=True),
        text_encoder=_clip_l(CLIPTextModel),
        text_encoder_2=_clip_g(),
        tokenizer=_clip_tokenizer(),
        tokenizer_2=_clip_tokenizer(),
        unet=UNet2DConditionModel(**SDXL_UNET),
        scheduler=_discrete_scheduler(),
        add_watermarker=False,
    )


def _sd35_medium() -> DiffusionPipeline:
    return StableDiffusion3Pipeline(
        transformer=SD3Transformer2DModel(**SD35_MEDIUM_TRANSFORMER),
        scheduler=_flow_scheduler(),
        vae=_flow_vae(1.5305, 0.0609),
        text_encoder=_clip_l(CLIPTextModelWithProjection),
        tokenizer=_clip_tokenizer(),
        text_encoder_2=_clip_g(),
        tokenizer_2=_clip_tokenizer(),
        text_encoder_3=_t5(),
        tokenizer_3=_t5_tokenizer(),
    )


def _flux_dev() -> DiffusionPipeline:
    return FluxPipeline(
        scheduler=_flow_scheduler(use_dynamic_shifting=True),
        vae=_flow_vae(0.3611, 0.1159),
        text_encoder=_clip_l(CLIPTextModel),
        tokenizer=_clip_tokenizer(),
        text_encoder_2=_t5(),
        tokenizer_2=_t5_tokenizer(),
        transformer=FluxTransformer2DModel(**FLUX_TRANSFORMER),
    )


def _z_image_turbo() -> DiffusionPipeline:
    tokenizer = _t5_tokenizer()
    tokenizer.chat_template = CHAT
    return ZImagePipeline(
        scheduler=_flow_scheduler(),
        vae=_flow_vae(0.3611, 0.1159),
        text_encoder=Qwen3Model(Qwen3Config(**QWEN3_4B)),
        tokenizer=tokenizer,
        transformer=ZImageTransformer2DModel(),
    )


ARCHITECTURES: dict[str, Callable[[], DiffusionPipeline]] = {
    "sd15": _sd15,
    "sdxl": _sdxl,
    "sd35_medium": _sd35_medium,
    "flux_dev": _flux_dev,
    "z_image_turbo": _z_image_turbo,
}
HUB_IDS = {
    "stable-diffusion-v1-5/stable-diffusion-v1-5": "sd15",
    "stabilityai/stable-diffusion-xl-base-1.0": "sdxl",
    "stabilityai/stable-diffusion-3.5-medium": "sd35_medium",
    "black-forest-labs/FLUX.1-dev": "flux_dev",
    "Tongyi-MAI/Z-Image-Turbo": "z_image_turbo",
}
"""Where the models are published -> their names here."""


def _vae(channels: int, scaling_factor: float, **config: Any) -> AutoencoderKL:
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(128, 256, 512, 512),
        layers_per_block=2,
        latent_channels=channels,
        scaling_factor=scaling_factor,
        **config,
    )


def _flow_vae(scaling_factor: float, shift_factor: float) -> AutoencoderKL:
    return _vae(
        16,
        scaling_factor,
        shift_factor=shift_factor,
        sample_size=1024,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )


def _clip_l(kind: type) -> torch.nn.Module:
    return kind(_clip_config(768, 3072, layers=12, heads=12, hidden_act="quick_gelu"))


def _clip_g() -> torch.nn.Module:
    return CLIPTextModelWithProjection(_clip_config(1280, 5120, layers=32, heads=20, hidden_act="gelu"))


def _clip_config(width: int, inner: int, layers: int, heads: int, hidden_act: str) -> CLIPTextConfig:
    tokenizer = _clip_tokenizer()
    return CLIPTextConfig(
        hidden_size=width,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        hidden_act=hidden_act,
        projection_dim=width,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


def _t5() -> T5EncoderModel:
    config = T5Config(
        vocab_size=32128, d_model=4096, d_kv=64, d_ff=10240, num_layers=24, num_heads=64, feed_forward_proj="gated-gelu"
    )
    return T5EncoderModel(config)


def _clip_tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(EMOJI_SD3 / "tokenizer")


def _t5_tokenizer() -> Any:
    return AutoTokenizer.from_pretrained(EMOJI_SD3 / "tokenizer_3")


def _discrete_scheduler() -> EulerDiscreteScheduler:
    with torch.device("cpu"):
        return EulerDiscreteScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            steps_offset=1,
            timestep_spacing="leading",
        )


def _flow_scheduler(**config: Any) -> FlowMatchEulerDiscreteScheduler:
    with torch.device("cpu"):
        return FlowMatchEulerDiscreteScheduler(shift=3.0, **config)
