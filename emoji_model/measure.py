"""Figures for the model cards: how well the model draws and how well the scorer judges."""

from pathlib import Path

import numpy as np
import torch
from diffusers import StableDiffusion3Pipeline
from torch import Tensor
from transformers import CLIPModel, CLIPTokenizer

from emoji_model.pictures import grid
from emoji_model.tokenizer import LENGTH
from emoji_model.train_clip import scores
from emoji_model.train_vae import to_tensor
from emoji_model.vocabulary import NAMES, STYLES, UNSEEN, caption

DRAWING_STEPS = 10
GRID_GUIDANCE = 2.0


def draw(pipe: StableDiffusion3Pipeline, texts: list[str], guidance: float, seed: int, zero_tokens: int = 1) -> Tensor:
    """Pictures [n, 3, 64, 64] in -1..1, one a caption, with so many zero tokens after the words."""
    context, no_context, pooled, no_pooled = pipe.encode_prompt(
        prompt=texts, prompt_2=None, prompt_3=None, max_sequence_length=max(1, zero_tokens)
    )
    length = LENGTH + zero_tokens
    pictures = pipe(
        prompt_embeds=context[:, :length],
        negative_prompt_embeds=no_context[:, :length],
        pooled_prompt_embeds=pooled,
        negative_pooled_prompt_embeds=no_pooled,
        num_inference_steps=DRAWING_STEPS,
        guidance_scale=guidance,
        height=64,
        width=64,
        generator=torch.Generator().manual_seed(seed),
        output_type="pt",
    ).images
    return pictures * 2 - 1


def percent(right: Tensor) -> float:
    return round(100 * right.float().mean().item(), 1)


def top_name(clip: CLIPModel, tokenizer: CLIPTokenizer, pictures: Tensor) -> Tensor:
    """The best of all names for every picture, [n]."""
    return scores(clip, tokenizer, pictures, NAMES).argmax(1)


def top_style(clip: CLIPModel, tokenizer: CLIPTokenizer, pictures: Tensor, name: Tensor) -> Tensor:
    """The best style for every picture whose name [n] is known, [n]."""
    texts = [caption(n, style) for n in NAMES for style in STYLES]
    table = scores(clip, tokenizer, pictures, texts).unflatten(1, (len(NAMES), len(STYLES)))
    return table[torch.arange(len(name)), name].argmax(1)


def scorer(folder: Path, pictures: dict[str, np.ndarray]) -> dict:
    """Top-1 names of unseen drawing styles, top-1 styles of the four it knows."""
    clip = CLIPModel.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = CLIPTokenizer.from_pretrained(folder)
    figures = {}
    for i, icon_set in enumerate(UNSEEN):
        found = torch.from_numpy(pictures["unseen_found"][:, i])
        best = top_name(clip, tokenizer, to_tensor(pictures["unseen"][:, i]))
        figures[f"name, {icon_set}"] = percent((best == torch.arange(len(NAMES)))[found])
    known = to_tensor(pictures["vocabulary"])
    name = torch.arange(len(NAMES)).repeat_interleave(len(STYLES))
    style = torch.arange(len(STYLES)).repeat(len(NAMES))
    figures["name, training pictures"] = percent(top_name(clip, tokenizer, known) == name)
    figures["style, training pictures"] = percent(top_style(clip, tokenizer, known, name) == style)
    return figures


def model(folder: Path, scorer_folder: Path) -> dict:
    """Top-1 names and styles of fresh samples, and the share of each style where the prompt names none."""
    pipe = StableDiffusion3Pipeline.from_pretrained(folder)
    pipe.set_progress_bar_config(disable=True)
    clip = CLIPModel.from_pretrained(scorer_folder, dtype=torch.float32).eval()
    tokenizer = CLIPTokenizer.from_pretrained(scorer_folder)
    name = torch.arange(len(NAMES))
    figures: dict = {"parameters": parameters(pipe)}
    for guidance in (1.0, 2.0):
        plain = torch.cat([draw(pipe, NAMES, guidance, seed) for seed in range(4)])
        styled = torch.cat([draw(pipe, [caption(n, s) for n in NAMES], guidance, 4) for s in STYLES])
        wanted = torch.arange(len(STYLES)).repeat_interleave(len(NAMES))
        drawn = top_style(clip, tokenizer, plain, name.repeat(4))
        figures[f"guidance {guidance}"] = {
            "name": percent(top_name(clip, tokenizer, plain) == name.repeat(4)),
            "name, style asked for": percent(top_name(clip, tokenizer, styled) == name.repeat(4)),
            "style asked for": percent(top_style(clip, tokenizer, styled, name.repeat(4)) == wanted),
            "share": {style: percent(drawn == i) for i, style in enumerate(STYLES)},
        }
    for zero_tokens in (0, 256):
        pictures = draw(pipe, NAMES, GRID_GUIDANCE, 0, zero_tokens)
        figures[f"name, {zero_tokens} zero tokens"] = percent(top_name(clip, tokenizer, pictures) == name)
    return figures


def parameters(pipe: StableDiffusion3Pipeline) -> dict[str, int]:
    """Number of weights of each part."""
    parts = {"transformer": pipe.transformer, "vae": pipe.vae, "text encoders": pipe.text_encoder}
    counts = {name: sum(p.numel() for p in part.parameters()) for name, part in parts.items()}
    return counts | {"text encoders": 2 * counts["text encoders"]}


def sample_grid(folder: Path, out: Path) -> None:
    """Twenty-four names; a row is the prompt without a style twice, then with each style."""
    pipe = StableDiffusion3Pipeline.from_pretrained(folder)
    pipe.set_progress_bar_config(disable=True)
    names = NAMES[::3][:24]
    columns = [draw(pipe, names, GRID_GUIDANCE, seed) for seed in (0, 1)]
    columns += [draw(pipe, [caption(n, style) for n in names], GRID_GUIDANCE, 2) for style in STYLES]
    table = torch.stack(columns, 1)
    pictures = ((table + 1) * 127.5).round().byte().permute(0, 1, 3, 4, 2).numpy()
    grid(np.concatenate(np.split(pictures, 3), 1), out)
