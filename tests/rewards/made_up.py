"""Pictures, weights and vocabularies that are the same on every machine, with every release of every package.

They come from a hash, not from a generator of random numbers: the reference packages have an environment of their own,
with releases of their own, and scores that were recorded there are compared with scores that are computed here.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

SIZE = 56
"""Pixels of the small models. Not that of any picture but one: a picture of the right size would not be resized."""
PICTURES = {  # name: mode, width, height
    "square": ("RGB", 100, 100),
    "right_size": ("RGB", 56, 56),
    "wide": ("RGB", 301, 90),
    "tall": ("RGB", 65, 240),
    "large": ("RGB", 512, 384),
    "one_pixel": ("RGB", 1, 1),
    "grey": ("L", 77, 60),
    "alpha": ("RGBA", 60, 81),
}
PROMPTS = [
    "a fox",
    "A red fox jumps over the lazy dog, 35mm photograph, f/2.8!",
    "",
    "word " * 120,
    "it's   the artist's\tfox; they've drawn 1234 foxes",
    "fox -- (masterpiece:1.2), <lora>",
    "ein schöner Fuchs, naïve café",
    "狐 fox",
]
"""One for each picture."""
TOWER = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
CLIP = {
    "text_config": {**TOWER, "projection_dim": 24},
    "vision_config": {**TOWER, "projection_dim": 24, "image_size": SIZE, "patch_size": 14},
    "projection_dim": 24,
}
"""The configuration of a small CLIP model of transformers'."""
LOGIT_SCALE = 4.6
LETTERS = [chr(code_point) for code_point in range(33, 127)]
BERT_PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *LETTERS, *(f"##{letter}" for letter in LETTERS), "fox"]


def numbers(name: str, shape: Sequence[int]) -> np.ndarray:
    """Numbers of a name, evenly spread over -1..1 in steps of 2**-15: float32 of this shape."""
    size = int(np.prod(shape, dtype=np.int64))
    digest = hashlib.shake_256(name.encode()).digest(2 * size)
    return (np.frombuffer(digest, dtype="<i2").astype(np.float32) / 2**15).reshape(tuple(shape))


def weight(name: str, shape: Sequence[int]) -> torch.Tensor:
    """The weight of this name: large enough that pictures get different scores, with norms near 1 and biases near 0."""
    if name.endswith("position_ids"):  # no weight, but BLIP's checkpoint has it
        return torch.arange(shape[-1]).expand(*shape).clone()
    values = torch.from_numpy(numbers(name, shape))
    if len(shape) > 1:
        return values * (2.6 / shape[-1] ** 0.5)
    return values * 0.17 + float(name.endswith(".weight"))


def state(shapes: Mapping[str, Sequence[int]]) -> dict[str, torch.Tensor]:
    """The weights of all these names."""
    return {name: weight(name, shape) for name, shape in shapes.items()}


def fill(network: torch.nn.Module) -> dict[str, list[int]]:
    """Give a network the weights of its names; returns their shapes."""
    shapes = {name: list(tensor.shape) for name, tensor in network.state_dict().items()}
    network.load_state_dict(state(shapes))
    return shapes


def draw(folder: Path) -> str:
    """Write NAME.png for all pictures, and return a digest of all that is made up: of weights, how they are made."""
    digest = hashlib.sha256(json.dumps([PROMPTS, BERT_PIECES, CLIP, LOGIT_SCALE]).encode())
    for name, shape in (("a.weight", (4, 4)), ("a.weight", (4,)), ("a.bias", (4,))):
        digest.update(weight(name, shape).numpy().tobytes())
    for name, (mode, width, height) in PICTURES.items():
        coarse = numbers(name, (height // 7 + 1, width // 7 + 1, 4))
        small = Image.fromarray(((coarse + 1) * 127.5).astype(np.uint8)).convert(mode)
        picture = small.resize((width, height), Image.Resampling.BICUBIC)
        picture.save(folder / f"{name}.png")
        digest.update(picture.tobytes())
    return digest.hexdigest()


def write_clip_words(folder: Path) -> None:
    """CLIP's vocabulary as the hub has it, from the list of merges that open_clip carries."""
    package = Path(importlib.util.find_spec("open_clip").origin).parent
    lines = gzip.decompress((package / "bpe_simple_vocab_16e6.txt.gz").read_bytes()).decode("utf-8").split("\n")
    merges = [tuple(line.split()) for line in lines[1 : 49152 - 256 - 2 + 1]]
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]  # bytes that stand for themselves
    hidden = [byte for byte in range(256) if byte not in shown]
    letters = [chr(byte) for byte in shown] + [chr(256 + n) for n in range(len(hidden))]
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), *map("".join, merges)]
    encoder = {token: number for number, token in enumerate([*tokens, "<|startoftext|>", "<|endoftext|>"])}
    folder.mkdir(exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(encoder), encoding="utf-8")
    merged = "\n".join(" ".join(pair) for pair in merges)
    (folder / "merges.txt").write_text(f"#version: 0.2\n{merged}\n", encoding="utf-8")


def write_bert_words(folder: Path) -> None:
    """A small vocabulary for BERT's tokenizer."""
    folder.mkdir(exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(BERT_PIECES), encoding="utf-8")
