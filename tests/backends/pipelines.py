"""A tiny pipeline of every family, with random weights and the tokenizers of the bundled model.

The sizes are such that ComfyUI's classes can have them too: its norms have 32 groups, and it fixes the number of heads
of Stable Diffusion 1, their width of 64 in 2 and XL, and the 256 numbers that tell XL each side of a picture. diffusers
knows a checkpoint file of XL by the tenth layer of its second text encoder, and its two encoders by their widths.
"""

from __future__ import annotations

import copy
from functools import cache

import torch
from diffusers import (
    AutoencoderDC,
    AutoencoderKL,
    AutoencoderKLFlux2,
    AutoencoderKLQwenImage,
    AutoencoderKLQwenImage21,
    ChromaPipeline,
    ChromaTransformer2DModel,
    DiffusionPipeline,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    Flux2KleinPipeline,
    Flux2Pipeline,
    Flux2Transformer2DModel,
    FluxPipeline,
    FluxTransformer2DModel,
    Lumina2Pipeline,
    Lumina2Transformer2DModel,
    PixArtAlphaPipeline,
    PixArtSigmaPipeline,
    PixArtTransformer2DModel,
    QwenImage21Pipeline,
    QwenImage21Transformer2DModel,
    QwenImageEditPlusPipeline,
    QwenImagePipeline,
    QwenImageTransformer2DModel,
    SanaPipeline,
    SanaTransformer2DModel,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
    ZImagePipeline,
    ZImageTransformer2DModel,
)
from diffusers.pipelines.qwenimage import pipeline_qwenimage_edit_plus as edit
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    AutoTokenizer,
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    Gemma2Config,
    Gemma2Model,
    Mistral3Config,
    Mistral3ForConditionalGeneration,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2VLImageProcessorPil,
    Qwen2VLProcessor,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3Model,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
    T5Config,
    T5EncoderModel,
)

from treegrpo.bundled import EMOJI_SD3

FIRST_FAMILIES = ("sd15", "sd2_v", "sdxl", "sd3", "sd35", "flux", "qwen_image")
MORE_FAMILIES = (
    "qwen_image_21",
    "qwen_image_edit",
    "lumina2",
    "sana",
    "pixart_alpha",
    "pixart_sigma",
    "z_image",
    "flux2",
    "flux2_klein",
    "chroma",
)
"""Of these, what tests of the others make redundant is in the long ones."""
FAMILIES = FIRST_FAMILIES + MORE_FAMILIES
CHAT = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content[0].text }}<|im_end|>\n{% endfor %}"
"""As Qwen3-VL's of texts."""
QWEN_POSITIONS = {"rope_parameters": {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 1e6}}
QWEN_VISION = {"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": 16}
SIDE = 16
"""Pixels. The autoencoders of SD, FLUX and PixArt scale by 2 here, the others as they always do: by 8, by 16
(Qwen-Image 2.1) or by 32 (Sana).
"""


def side(family: str) -> int:
    """The side in pixels of the pictures that a family's tiny model draws."""
    if family.startswith("qwen_image") or family == "sana":
        return 64
    return 32 if family in ("sd3", "sd35", "lumina2", "z_image") else SIDE


def tiny_pipeline(family: str) -> DiffusionPipeline:
    """The same pipeline at every call, and one of its own."""
    pipeline = copy.deepcopy(_pipeline(family))
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@cache
def _pipeline(family: str) -> DiffusionPipeline:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return {
            "sd15": _sd,
            "sd2_v": _sd_v,
            "sdxl": _sdxl,
            "sd3": _sd3,
            "sd35": _sd35,
            "flux": _flux,
            "qwen_image": _qwen,
            "qwen_image_21": _qwen_21,
            "qwen_image_edit": _qwen_edit,
            "lumina2": _lumina2,
            "sana": _sana,
            "pixart_alpha": _pixart_alpha,
            "pixart_sigma": _pixart_sigma,
            "z_image": _z_image,
            "flux2": _flux2,
            "flux2_klein": _flux2_klein,
            "chroma": _chroma,
        }[family]()


def _sd(unet: UNet2DConditionModel | None = None, **scheduler: object) -> DiffusionPipeline:
    return StableDiffusionPipeline(
        vae=_vae(4, 0.18215),
        text_encoder=_clip(32).eval(),
        tokenizer=_clip_tokenizer(),
        unet=unet or _unet(heads=8, cross_attention_dim=32),
        scheduler=EulerDiscreteScheduler(
            beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1, **scheduler
        ),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def _sd_v() -> DiffusionPipeline:
    unet = _unet(heads=1, cross_attention_dim=32, use_linear_projection=True)
    return _sd(unet, prediction_type="v_prediction", timestep_spacing="trailing")


def _sdxl() -> DiffusionPipeline:
    return StableDiffusionXLPipeline(
        vae=_vae(4, 0.13025),
        text_encoder=_clip(32).eval(),
        text_encoder_2=_clip(64, layers=10, projected=True).eval(),
        tokenizer=_clip_tokenizer(),
        tokenizer_2=_clip_tokenizer(),
        unet=_unet(
            heads=1,
            cross_attention_dim=32 + 64,
            use_linear_projection=True,
            addition_embed_type="text_time",
            addition_time_embed_dim=256,
            projection_class_embeddings_input_dim=6 * 256 + 64,
        ),
        scheduler=EulerDiscreteScheduler(
            beta_start=0.00085,
            beta_end=0.012,
            beta_schedule="scaled_linear",
            steps_offset=1,
            timestep_spacing="leading",
        ),
        add_watermarker=False,
    )


def _sd3() -> DiffusionPipeline:
    return StableDiffusion3Pipeline.from_pretrained(EMOJI_SD3)


def _sd35() -> DiffusionPipeline:
    """The medium model of 3.5 has a second attention in its first blocks."""
    pipeline = copy.deepcopy(_pipeline("sd3"))
    config = pipeline.transformer.config
    pipeline.transformer = SD3Transformer2DModel.from_config(config, dual_attention_layers=[0])
    return pipeline


def _flux() -> DiffusionPipeline:
    transformer = FluxTransformer2DModel(
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        pooled_projection_dim=32,
        axes_dims_rope=(4, 4, 8),
        guidance_embeds=True,
    )
    return FluxPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
        vae=_vae(4, 0.3611, shift_factor=0.1159),
        text_encoder=_clip(32).eval(),
        tokenizer=_clip_tokenizer(),
        text_encoder_2=_t5(_t5_tokenizer()),
        tokenizer_2=_t5_tokenizer(),
        transformer=transformer,
    )


def _qwen() -> DiffusionPipeline:
    tokenizer = _byte_tokenizer()
    text = _sizes(tokenizer) | QWEN_POSITIONS
    return QwenImagePipeline(
        transformer=QwenImageTransformer2DModel(
            in_channels=16,
            out_channels=4,
            num_layers=2,
            attention_head_dim=16,
            num_attention_heads=2,
            joint_attention_dim=16,
            axes_dims_rope=(8, 4, 4),
        ),
        vae=AutoencoderKLQwenImage(
            base_dim=8,
            z_dim=4,
            dim_mult=[1, 2, 4],
            num_res_blocks=1,
            temperal_downsample=[False, True],
            latents_mean=[0.1, -0.1, 0.0, 0.2],
            latents_std=[1.0, 2.0, 1.5, 0.5],
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=1.0, use_dynamic_shifting=True, shift_terminal=0.02),
        text_encoder=Qwen2_5_VLForConditionalGeneration(
            Qwen2_5_VLConfig(text_config=text, vision_config=QWEN_VISION)
        ).eval(),
        tokenizer=tokenizer,
    )


def _qwen_edit() -> DiffusionPipeline:
    # diffusers fixes how many pixels of a picture the network and the text encoder read; here they are fewer.
    edit.VAE_IMAGE_SIZE, edit.CONDITION_IMAGE_SIZE = 64 * 64, 64 * 64
    parts = _qwen().components
    tokenizer = parts["tokenizer"]
    tokenizer.add_tokens(["<|image_pad|>", "<|vision_start|>", "<|vision_end|>"], special_tokens=True)
    config = parts["text_encoder"].config
    config.text_config.vocab_size = len(tokenizer)
    config.image_token_id = tokenizer.convert_tokens_to_ids("<|image_pad|>")
    parts["text_encoder"] = Qwen2_5_VLForConditionalGeneration(config).eval()
    return QwenImageEditPlusPipeline(**parts, processor=_Qwen2Processor(Qwen2VLImageProcessorPil(), tokenizer, None))


def _qwen_21() -> DiffusionPipeline:
    tokenizer = _byte_tokenizer()
    tokenizer.add_tokens("<|image_pad|>", special_tokens=True)
    text = _sizes(tokenizer) | QWEN_POSITIONS | {"head_dim": 8}
    vision = QWEN_VISION | {"deepstack_visual_indexes": [0]}
    return QwenImage21Pipeline(
        transformer=QwenImage21Transformer2DModel(
            in_channels=8,
            out_channels=8,
            num_layers=2,
            attention_head_dim=16,
            num_attention_heads=2,
            context_in_dim=16,
            axes_dims_rope=(4, 6, 6),
        ),
        vae=AutoencoderKLQwenImage21(
            base_dim=8,
            decoder_base_dim=8,
            z_dim=8,
            dim_mult=[1, 1, 1, 1, 1],
            num_res_blocks=1,
            latents_mean=[0.1, -0.1, 0.0, 0.2] * 2,
            latents_std=[1.0, 2.0, 1.5, 0.5] * 2,
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=1.0, use_dynamic_shifting=True, shift_terminal=0.02),
        text_encoder=Qwen3VLForConditionalGeneration(Qwen3VLConfig(text_config=text, vision_config=vision)).eval(),
        processor=_Qwen3Processor(Qwen2VLImageProcessorPil(), tokenizer, None, chat_template=CHAT),
    )


class _WithoutVideos:
    """Of a processor, all but its part for videos, which needs torchvision where texts and pictures do not."""

    def check_argument_for_proper_class(self, argument_name: str, argument: object) -> type:
        return type(argument)


class _Qwen2Processor(_WithoutVideos, Qwen2VLProcessor):
    pass


class _Qwen3Processor(_WithoutVideos, Qwen3VLProcessor):
    pass


def _lumina2() -> DiffusionPipeline:
    return Lumina2Pipeline(
        transformer=Lumina2Transformer2DModel(
            in_channels=4,
            hidden_size=48,
            num_layers=1,
            num_refiner_layers=1,
            num_attention_heads=4,
            num_kv_heads=2,
            multiple_of=16,
            axes_dim_rope=(4, 4, 4),
            axes_lens=(256, 16, 16),
            cap_feat_dim=16,
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=6.0),
        vae=_vae(4, 0.3611, shift_factor=0.1159, levels=4),
        text_encoder=_gemma2(),
        tokenizer=_byte_tokenizer(begun=True),
    )


def _sana() -> DiffusionPipeline:
    return SanaPipeline(
        transformer=SanaTransformer2DModel(
            in_channels=4,
            out_channels=4,
            num_attention_heads=2,
            attention_head_dim=16,
            num_layers=2,
            num_cross_attention_heads=2,
            cross_attention_head_dim=16,
            cross_attention_dim=32,
            caption_channels=16,
            sample_size=2,
            qk_norm="rms_norm_across_heads",
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=AutoencoderDC(
            latent_channels=4,
            encoder_block_out_channels=(8,) * 6,
            decoder_block_out_channels=(8,) * 6,
            encoder_layers_per_block=(1,) * 6,
            decoder_layers_per_block=(1,) * 6,
            encoder_qkv_multiscales=((),) * 6,
            decoder_qkv_multiscales=((),) * 6,
            scaling_factor=0.41407,
        ),
        text_encoder=_gemma2(),
        tokenizer=_byte_tokenizer(begun=True),
    )


def _pixart_alpha() -> DiffusionPipeline:
    """Networks of 1024 pixels are told the size of the picture, and known by it."""
    return _pixart(PixArtAlphaPipeline, sample_size=128)


def _pixart_sigma() -> DiffusionPipeline:
    return _pixart(PixArtSigmaPipeline, sample_size=64)


def _pixart(kind: type[DiffusionPipeline], sample_size: int) -> DiffusionPipeline:
    tokenizer = _byte_tokenizer()
    return kind(
        transformer=PixArtTransformer2DModel(
            num_attention_heads=2,
            attention_head_dim=24,
            cross_attention_dim=48,
            num_layers=2,
            sample_size=sample_size,
            caption_channels=32,
        ),
        scheduler=EulerDiscreteScheduler(beta_start=0.0001, beta_end=0.02),
        vae=_vae(4, 0.13025),
        text_encoder=_t5(tokenizer),
        tokenizer=tokenizer,
    )


def _z_image() -> DiffusionPipeline:
    tokenizer = _byte_tokenizer()
    tokenizer.chat_template = CHAT.replace("content[0].text", "content")
    return ZImagePipeline(
        transformer=ZImageTransformer2DModel(
            in_channels=4,
            dim=48,
            n_layers=1,
            n_refiner_layers=1,
            n_heads=4,
            n_kv_heads=4,
            cap_feat_dim=16,
            axes_dims=[4, 4, 4],
            axes_lens=[256, 16, 16],
        ),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=_vae(4, 0.3611, shift_factor=0.1159, levels=4),
        text_encoder=Qwen3Model(Qwen3Config(**_sizes(tokenizer), head_dim=8)).eval(),
        tokenizer=tokenizer,
    )


def _chroma() -> DiffusionPipeline:
    transformer = ChromaTransformer2DModel(
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=32,
        axes_dims_rope=(4, 4, 8),
        approximator_hidden_dim=32,
        approximator_layers=1,
    )
    return ChromaPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True),
        vae=_vae(4, 0.3611, shift_factor=0.1159),
        text_encoder=_t5(_t5_tokenizer()),
        tokenizer=_t5_tokenizer(),
        transformer=transformer,
    )


def _flux2() -> DiffusionPipeline:
    tokenizer = _byte_tokenizer()
    tokenizer.chat_template = "{% for m in messages %}{{ m.content[0].text }}{% endfor %}"
    text = _sizes(tokenizer, layers=31) | {"model_type": "mistral", "head_dim": 8}
    vision = {"model_type": "pixtral", "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1}
    vision |= {"num_attention_heads": 2, "head_dim": 8, "image_size": 32, "patch_size": 16}
    encoder = Mistral3ForConditionalGeneration(Mistral3Config(text_config=text, vision_config=vision))
    return Flux2Pipeline(**_flux2_parts(guidance=True), text_encoder=encoder.eval(), tokenizer=tokenizer)


def _flux2_klein() -> DiffusionPipeline:
    tokenizer = _byte_tokenizer()
    tokenizer.chat_template = CHAT.replace("content[0].text", "content")
    encoder = Qwen3ForCausalLM(Qwen3Config(**_sizes(tokenizer, layers=28), head_dim=8))
    return Flux2KleinPipeline(**_flux2_parts(guidance=False), text_encoder=encoder.eval(), tokenizer=tokenizer)


def _flux2_parts(guidance: bool) -> dict[str, object]:
    """All but the text encoder, of which three layers are read, the last of them the 27th or the 30th."""
    vae = AutoencoderKLFlux2(
        block_out_channels=(8, 8),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=4,
        latent_channels=4,
    ).eval()
    vae.bn.running_mean.normal_()
    vae.bn.running_var.uniform_(0.5, 2)
    transformer = Flux2Transformer2DModel(
        in_channels=16,
        num_layers=1,
        num_single_layers=1,
        attention_head_dim=16,
        num_attention_heads=2,
        joint_attention_dim=48,
        axes_dims_rope=(4, 4, 4, 4),
        guidance_embeds=guidance,
    )
    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0, use_dynamic_shifting=True)
    return {"vae": vae, "transformer": transformer, "scheduler": scheduler}


def _sizes(tokenizer: PreTrainedTokenizerFast, layers: int = 2) -> dict[str, int]:
    """Of language models, as most configurations call them."""
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": layers,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
    }


def _gemma2() -> Gemma2Model:
    tokenizer = _byte_tokenizer(begun=True)
    sizes = _sizes(tokenizer) | {"num_key_value_heads": 1}
    return Gemma2Model(Gemma2Config(**sizes, head_dim=8, pad_token_id=tokenizer.pad_token_id)).eval()


def _t5(tokenizer: PreTrainedTokenizerFast) -> T5EncoderModel:
    config = T5Config(vocab_size=len(tokenizer), d_model=32, d_ff=37, d_kv=8, num_layers=2, num_heads=4)
    return T5EncoderModel(config).eval()


def _unet(heads: int, **config: object) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        block_out_channels=(32, 64),
        layers_per_block=1,
        sample_size=SIDE // 2,
        in_channels=4,
        out_channels=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=heads,  # diffusers' name for the number of heads here
        **config,
    )


def _vae(channels: int, scaling_factor: float, shift_factor: float | None = None, levels: int = 2) -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=(8,) * levels,
        down_block_types=("DownEncoderBlock2D",) * levels,
        up_block_types=("UpDecoderBlock2D",) * levels,
        norm_num_groups=4,
        latent_channels=channels,
        scaling_factor=scaling_factor,
        shift_factor=shift_factor,
    ).eval()


def _clip(width: int, layers: int = 3, projected: bool = False) -> torch.nn.Module:
    tokenizer = _clip_tokenizer()
    config = CLIPTextConfig(
        hidden_size=width,
        intermediate_size=37,
        num_attention_heads=4,
        num_hidden_layers=layers,
        vocab_size=len(tokenizer),
        projection_dim=width,
        max_position_embeddings=tokenizer.model_max_length,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return (CLIPTextModelWithProjection if projected else CLIPTextModel)(config)


def _clip_tokenizer() -> PreTrainedTokenizerFast:
    return AutoTokenizer.from_pretrained(EMOJI_SD3 / "tokenizer")


def _t5_tokenizer() -> PreTrainedTokenizerFast:
    return AutoTokenizer.from_pretrained(EMOJI_SD3 / "tokenizer_3")


def _byte_tokenizer(begun: bool = False) -> PreTrainedTokenizerFast:
    """Every byte is a token: enough for the chat template that Qwen-Image wraps around prompts.

    begun: texts begin with a token of their own, as Gemma's do, so that not even "" is without any.
    """
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = ["<pad>", *letters, *["<bos>"] * begun]
    model = Tokenizer(models.BPE(vocab={word: i for i, word in enumerate(words)}, merges=[]))
    model.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    if begun:
        begin = [("<bos>", words.index("<bos>"))]
        model.post_processor = processors.TemplateProcessing(single="<bos> $A", special_tokens=begin)
    return PreTrainedTokenizerFast(tokenizer_object=model, pad_token="<pad>")
