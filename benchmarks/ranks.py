"""What ranks tell each other: the size of LoRAs on real architectures, and the seconds to add their gradients up.

    python benchmarks/ranks.py
    torchrun --nproc-per-node 2 benchmarks/ranks.py

The networks are built on the meta device from their published configurations; no weights are needed. With several
processes, the gradients of each are added up five times; the table has the median.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from statistics import median

import torch
from diffusers import FluxTransformer2DModel, SD3Transformer2DModel, UNet2DConditionModel
from peft import LoraConfig

sys.path.insert(0, str(Path(__file__).parent.parent))

from treegrpo.backends.families import flux, sd3, unet
from treegrpo.ranks import joined

RANK = 8
SD15 = {"sample_size": 64, "cross_attention_dim": 768, "attention_head_dim": 8}
SDXL = {
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
SD35_MEDIUM = {
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
FLUX_DEV = {"guidance_embeds": True}  # the rest are diffusers' defaults

MODELS = {
    "SD1.5": (UNet2DConditionModel, SD15, unet),
    "SDXL": (UNet2DConditionModel, SDXL, unet),
    "SD3.5-medium": (SD3Transformer2DModel, SD35_MEDIUM, sd3),
    "FLUX.1-dev": (FluxTransformer2DModel, FLUX_DEV, flux),
}


def lora_size(kind: type, config: dict, family: object) -> tuple[int, int]:
    """(weights of the network, weights of its LoRA on the attention)."""
    with torch.device("meta"):
        network = kind(**config)
        before = sum(weight.numel() for weight in network.parameters())
        network.add_adapter(LoraConfig(r=RANK, target_modules=family.TARGETS["attention"]))
    return before, sum(weight.numel() for name, weight in network.named_parameters() if "lora_" in name)


def main() -> None:
    """Print one row a model."""
    with joined() as ranks:
        rows = []
        for name, model in MODELS.items():
            network, lora = lora_size(*model)
            seconds = []
            for _ in range(5):
                gradients = [torch.ones(lora)]
                ranks.gather(None)  # start together
                began = time.perf_counter()
                ranks.add_up(gradients)
                seconds.append(time.perf_counter() - began)
            rows.append(f"| {name} | {network / 1e6:.1f} M | {lora:,} | {4 * lora:,} | {1e3 * median(seconds):.1f} |")
        seconds = []
        for _ in range(50):
            began = time.perf_counter()
            ranks.gather(None)
            seconds.append(time.perf_counter() - began)
        if ranks.first:
            print(f"| model | network | LoRA of rank {RANK}, weights | bytes | ms to add up, {ranks.size} processes |")
            print("| --- | --- | --- | --- | --- |")
            print("\n".join(rows))
            print(f"One small message to all: {1e3 * median(seconds):.2f} ms")


if __name__ == "__main__":
    main()
