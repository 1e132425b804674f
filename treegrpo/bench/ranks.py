"""What ranks tell each other: the size of LoRAs on real architectures, and the seconds to add their gradients up.

    python -m treegrpo.bench.ranks
    torchrun --nproc-per-node 2 -m treegrpo.bench.ranks

The networks are built on the meta device from their published configurations; no weights are needed. With several
processes, the gradients of each are added up five times; the table has the median.
"""

from __future__ import annotations

import time
from statistics import median

import torch

from ..backends.architectures import build
from ..backends.diffusers import DiffusersPolicy, LoraSettings
from ..method.ranks import joined

RANK = 8
MODELS = ("sd15", "sdxl", "sd35_medium", "flux_dev")


def lora_size(name: str) -> tuple[int, int]:
    """(weights of the network, weights of its LoRA on the attention)."""
    meta = torch.device("meta")
    policy = DiffusersPolicy(build(name, meta, torch.bfloat16), LoraSettings(rank=RANK), device=meta)
    lora = sum(weight.numel() for weight in policy.parameters())
    return sum(weight.numel() for weight in policy.network.parameters()) - lora, lora


def main() -> None:
    """Print one row a model."""
    with joined() as ranks:
        rows = []
        for name in MODELS:
            network, lora = lora_size(name)
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
