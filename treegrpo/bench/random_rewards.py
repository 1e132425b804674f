"""Random weights of the true sizes for all learned rewards, to time them where the real ones are not at hand.

`python -m treegrpo.bench.random_rewards FOLDER` writes them (10 GB), for `treegrpo bench rewards --folder FOLDER`. They
are in half precision, as HPS v2's and ImageReward's own; the vocabularies are made up.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from torch import nn
from transformers import BlipTextConfig, BlipTextModel, BlipVisionConfig, BlipVisionModel, CLIPConfig, CLIPModel

from ..rewards import blip_keys, open_clip_keys
from ..rewards.hps import VIT_H_14
from ..rewards.imagereward import ImageReward
from ..rewards.linear_head import linear_head
from ..rewards.weights import AESTHETIC, BERT_WORDS, CLIP_L, HPSV2, HPSV21, IMAGEREWARD, PICKSCORE, Source

STD = 0.02


def random_state(network: nn.Module) -> dict[str, torch.Tensor]:
    """Weights for a network on the meta device, in half precision."""
    return {name: torch.empty(value.shape).normal_(0, STD).half() for name, value in network.state_dict().items()}


def as_open_clip(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The inverse of open_clip_keys.to_transformers."""
    renamed = {}
    for theirs, ours in open_clip_keys.WHOLE.items():
        renamed[theirs] = state[ours]
    for theirs, ours in open_clip_keys.TURNED.items():
        renamed[theirs] = state[ours].T.contiguous()
    for theirs, ours in open_clip_keys.NORMS.items():
        for kind in ("weight", "bias"):
            renamed[f"{theirs}.{kind}"] = state[f"{ours}.{kind}"]
    for theirs, ours in open_clip_keys.TOWERS.items():
        layer = 0
        while f"{ours}.{layer}.layer_norm1.weight" in state:
            for kind in ("weight", "bias"):
                thirds = [state[f"{ours}.{layer}.self_attn.{which}_proj.{kind}"] for which in "qkv"]
                renamed[f"{theirs}.{layer}.attn.in_proj_{kind}"] = torch.cat(thirds)
                for their_part, part in open_clip_keys.IN_BLOCK.items():
                    renamed[f"{theirs}.{layer}.{their_part}.{kind}"] = state[f"{ours}.{layer}.{part}.{kind}"]
            layer += 1
    return renamed


def as_blip(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The inverse of blip_keys.vision_state, for a prefix of its own."""
    renamed = {}
    for name, value in state.items():
        for theirs, ours in blip_keys.VISION.items():
            if name == ours:
                renamed[theirs] = value
            elif name.startswith(f"{ours}."):
                renamed[f"{theirs}.{name.rpartition('.')[2]}"] = value
        if name.startswith("encoder.layers."):
            number, rest = name.removeprefix("encoder.layers.").split(".", 1)
            part, kind = rest.rsplit(".", 1)
            [theirs] = [key for key, ours in blip_keys.IN_BLOCK.items() if ours == part]
            renamed[f"blocks.{number}.{theirs}.{kind}"] = value
    return renamed


def place(folder: Path, source: Source, name: str) -> Path:
    """Where a file of a source belongs."""
    (folder / source.folder).mkdir(parents=True, exist_ok=True)
    return folder / source.folder / name


def main(folder: Path) -> None:
    """Write everything below `folder`."""
    torch.manual_seed(0)
    pieces = ["<|startoftext|>", "<|endoftext|>", *map(chr, range(33, 127))]
    pieces += [f"{chr(code)}</w>" for code in range(33, 127)]
    place(folder, CLIP_L, "vocab.json").write_text(
        json.dumps({piece: place for place, piece in enumerate(pieces)}), encoding="utf-8"
    )
    place(folder, CLIP_L, "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")
    bert = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *map(chr, range(33, 127))]
    place(folder, BERT_WORDS, "vocab.txt").write_text("\n".join(bert), encoding="utf-8")

    large = {"num_hidden_layers": 24, "num_attention_heads": 16, "hidden_size": 1024, "intermediate_size": 4096}
    small = {"num_hidden_layers": 12, "num_attention_heads": 12, "hidden_size": 768, "intermediate_size": 3072}
    vit_l = CLIPConfig(vision_config={**large, "patch_size": 14}, text_config=small, projection_dim=768)
    with torch.device("meta"):
        vit_h = CLIPModel(CLIPConfig(**VIT_H_14))
        blip = BlipVisionModel(BlipVisionConfig(**ImageReward.vision))
        text = BlipTextModel(BlipTextConfig(**ImageReward.text), add_pooling_layer=False)
    CLIPModel(vit_l).half().save_pretrained(folder / CLIP_L.folder)
    CLIPModel.from_pretrained(None, config=vit_h.config, state_dict=random_state(vit_h)).half().save_pretrained(
        folder / PICKSCORE.folder
    )
    for source in (HPSV2, HPSV21):
        torch.save({"state_dict": as_open_clip(random_state(vit_h))}, place(folder, source, source.files[0]))

    state = {f"blip.visual_encoder.{name}": value for name, value in as_blip(random_state(blip)).items()}
    state |= {f"blip.text_encoder.{name}": value for name, value in random_state(text).items()}
    state |= {f"mlp.layers.{name}": value for name, value in linear_head(768).state_dict().items()}
    torch.save(state, place(folder, IMAGEREWARD, IMAGEREWARD.files[0]))
    head = {f"layers.{name}": value for name, value in linear_head(768).state_dict().items()}
    torch.save(head, place(folder, AESTHETIC, AESTHETIC.files[0]))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
