"""The scorer: a small CLIP that says how well a picture fits a caption."""

import copy
import json
import logging
import math
import time
from pathlib import Path

import torch
from diffusers import AutoencoderKL
from torch import Tensor
from torch.nn import functional as F
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

from emoji_model.optimiser import optimisers, set_rate
from emoji_model.train_vae import decode, encode
from emoji_model.vocabulary import NAMES, STYLES, caption

STEPS = 1600
BATCH = 96
RATE = 1.5e-3
# How often a caption is "bear", "bear, ink style" or "ink style".
FORMS = torch.tensor([0.4, 0.4, 0.2])
log = logging.getLogger(__name__)


def model(tokenizer: CLIPTokenizer) -> CLIPModel:
    tower = {"hidden_size": 128, "intermediate_size": 512, "num_attention_heads": 4, "projection_dim": 128}
    marks = {f"{mark}_token_id": getattr(tokenizer, f"{mark}_token_id") for mark in ("bos", "eos", "pad")}
    length = {"vocab_size": len(tokenizer), "max_position_embeddings": tokenizer.model_max_length}
    config = CLIPConfig(
        text_config=tower | length | marks | {"num_hidden_layers": 2},
        vision_config=tower | {"num_hidden_layers": 4, "image_size": 64, "patch_size": 8},
        projection_dim=128,
    )
    clip = CLIPModel(config)
    torch.nn.init.normal_(clip.text_model.embeddings.token_embedding.weight, std=0.5)
    torch.nn.init.normal_(clip.text_model.embeddings.position_embedding.weight, std=0.1)
    return clip


def uniform(n: int, low: float, high: float) -> Tensor:
    """Random numbers [n, 1, 1, 1]."""
    return low + (high - low) * torch.rand(n, 1, 1, 1)


def sometimes(chance: float, changed: Tensor, x: Tensor) -> Tensor:
    """Take the changed picture with this chance, each picture by itself."""
    return torch.where(torch.rand(len(x), 1, 1, 1) < chance, changed, x)


def augment(x: Tensor) -> Tensor:
    """Pictures [n, 3, 64, 64] in -1..1, moved, recoloured, covered, blurred and made noisy."""
    n = len(x)
    angle, shear = uniform(n, -0.35, 0.35).view(n), uniform(n, -0.15, 0.15).view(n)
    zoom_x, zoom_y = uniform(n, 0.75, 1.4).view(n), uniform(n, 0.9, 1.1).view(n)
    mirror = torch.where(torch.rand(n) < 0.5, -1.0, 1.0)
    turn = torch.stack([angle.cos(), -angle.sin() + shear, angle.sin(), angle.cos()], -1).view(n, 2, 2)
    turn = turn * torch.stack([zoom_x * mirror, zoom_x * zoom_y], -1)[:, None]
    theta = torch.cat([turn, uniform(n, -0.15, 0.15).view(n, 1, 1).expand(n, 2, 1) * torch.randn(n, 2, 1)], -1)
    grid = F.affine_grid(theta, list(x.shape), align_corners=False)
    x = 1 - F.grid_sample(1 - x, grid, align_corners=False)

    mix = torch.eye(3) + 0.12 * torch.randn(n, 3, 3)
    mixed = torch.einsum("nij,njhw->nihw", mix / mix.sum(2, keepdim=True), x)
    x = sometimes(0.7, (mixed - 1) * uniform(n, 0.7, 1.2) + uniform(n, 0.85, 1.05), x)

    place = torch.rand(n, 2, 1, 1) * 64
    size = uniform(n, 4, 12)
    rows, columns = torch.arange(64).view(1, 1, 64, 1), torch.arange(64).view(1, 1, 1, 64)
    covered = ((rows - place[:, :1]).abs() < size) & ((columns - place[:, 1:]).abs() < size)
    x = sometimes(0.3, torch.where(covered, 1.0, x), x)

    x = sometimes(0.3, F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, stride=1), x)
    x = sometimes(0.15, F.interpolate(F.avg_pool2d(x, 2), scale_factor=2, mode="bilinear"), x)
    return sometimes(0.5, x + uniform(n, 0, 0.15) * torch.randn_like(x), x)


@torch.no_grad()
def reconstructions(vae: AutoencoderKL, pictures: Tensor) -> Tensor:
    """Each picture [n, 3, 64, 64] through the autoencoder twice, with little and with more latent noise."""
    latents = encode(vae, pictures)
    seen = [decode(vae, latents + level * torch.randn_like(latents)) for level in (0.1, 0.4)]
    return torch.stack(seen) * 2 - 1


def sample(count: int, others: int) -> tuple[Tensor, Tensor]:
    """Picture name and style indices [n]: two thirds vocabulary, one third further names."""
    ours = torch.randint(len(NAMES), (count * 2 // 3,))
    further = len(NAMES) + torch.randint(others, (count - len(ours),))
    return torch.cat([ours, further]), torch.randint(len(STYLES), (count,))


def loss(clip: CLIPModel, images: Tensor, ids: Tensor, also: Tensor) -> Tensor:
    """Symmetric contrastive loss; `also` [captions, pictures] marks pairs that fit though they were not drawn
    together, and these count neither for nor against."""
    text = F.normalize(clip.get_text_features(ids).pooler_output, dim=-1)
    image = F.normalize(clip.get_image_features(images).pooler_output, dim=-1)
    logits = clip.logit_scale.clamp(max=math.log(50)).exp() * text @ image.T
    logits = logits.masked_fill(also, -math.inf)
    target = torch.arange(len(ids))
    return F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)


def train(
    vocabulary: Tensor,
    others: Tensor,
    other_names: list[str],
    vae: AutoencoderKL,
    tokenizer_folder: Path,
    out: Path,
    steps: int = STEPS,
) -> dict:
    """Train on vocabulary [80, 4, 3, 64, 64] and others [n, 4, 3, 64, 64]; writes the averaged model."""
    torch.manual_seed(0)
    tokenizer = CLIPTokenizer.from_pretrained(tokenizer_folder)
    names = NAMES + other_names
    pictures = torch.cat([vocabulary, others])
    rebuilt = reconstructions(vae, vocabulary.flatten(0, 1)).unflatten(1, vocabulary.shape[:2])
    clip = model(tokenizer)
    average = copy.deepcopy(clip).requires_grad_(False).eval()
    steppers = optimisers(clip, RATE)
    start, total = time.time(), 0.0
    for step in range(steps):
        warm, left = min(1, (step + 1) / 100), 0.5 + 0.5 * math.cos(math.pi * step / steps)
        set_rate(steppers, RATE * warm * left)
        name, style = sample(BATCH, len(others))
        images = pictures[name, style]
        swap = (name < len(NAMES)) & (torch.rand(BATCH) < 0.3)
        images[swap] = rebuilt[torch.randint(2, (int(swap.sum()),)), name[swap], style[swap]]

        form = torch.multinomial(FORMS, BATCH, replacement=True)
        says_name, says_style = form < 2, form > 0
        texts = [
            caption(names[name[i]] if says_name[i] else None, list(STYLES)[style[i]] if says_style[i] else None)
            for i in range(BATCH)
        ]
        ids = tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt").input_ids
        fits = ((name[:, None] == name) | ~says_name[:, None]) & ((style[:, None] == style) | ~says_style[:, None])
        value = loss(clip, augment(images), ids, fits & ~torch.eye(BATCH, dtype=torch.bool))
        clip.zero_grad()
        value.backward()
        for stepper in steppers:
            stepper.step()
        keep = min(0.995, (step + 1) / (step + 10))
        torch._foreach_lerp_(list(average.parameters()), list(clip.parameters()), 1 - keep)
        total += value.item()
        if (step + 1) % 100 == 0:
            log.info("clip step %d, %.0f s, loss %.4f", step + 1, time.time() - start, total / 100)
            total = 0.0
    average.save_pretrained(out)
    return {"samples": steps * BATCH, "seconds": round(time.time() - start)}


def write_processor(folder: Path) -> None:
    """Settings of the CLIPImageProcessor: 64 x 64 pixels in -1..1."""
    settings = {
        "image_processor_type": "CLIPImageProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "size": {"shortest_edge": 64},
        "resample": 3,
        "do_center_crop": True,
        "crop_size": {"height": 64, "width": 64},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(settings, indent=2), encoding="utf-8")


@torch.no_grad()
def scores(clip: CLIPModel, tokenizer: CLIPTokenizer, pictures: Tensor, texts: list[str]) -> Tensor:
    """Cosine similarity of pictures [n, 3, 64, 64] in -1..1 and every text, [n, texts]."""
    ids = tokenizer(texts, padding="max_length", truncation=True, return_tensors="pt").input_ids
    text = F.normalize(clip.get_text_features(ids).pooler_output, dim=-1)
    image = torch.cat([clip.get_image_features(part).pooler_output for part in pictures.split(64)])
    return F.normalize(image, dim=-1) @ text.T
