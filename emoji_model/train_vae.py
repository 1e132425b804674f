"""The autoencoder: 64 x 64 pictures to 16 x 8 x 8 latents of zero mean and unit deviation."""

import logging
import math
import time
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL
from torch import Tensor
from torch.nn import functional as F

from emoji_model.optimiser import optimisers, set_rate

SCALE, SHIFT = 1.5305, 0.0609
KL = 1e-3
NOISE = 0.1
STEPS = 2700
RATE = 2e-3
log = logging.getLogger(__name__)


def model() -> AutoencoderKL:
    return AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(32, 32, 64, 64),
        layers_per_block=1,
        latent_channels=16,
        norm_num_groups=32,
        sample_size=64,
        scaling_factor=SCALE,
        shift_factor=SHIFT,
        use_quant_conv=False,
        use_post_quant_conv=False,
    )


def to_tensor(pictures: np.ndarray) -> Tensor:
    """uint8 [..., h, w, 3] -> float [n, 3, h, w] in -1..1."""
    return torch.from_numpy(pictures.reshape(-1, *pictures.shape[-3:])).permute(0, 3, 1, 2).float() / 127.5 - 1


def jitter(x: Tensor) -> Tensor:
    """Shift by a few pixels and scale a little, on white, half of the time: [n, 3, h, w] -> the same."""
    n = len(x)
    moved = (torch.rand(n) < 0.5).float()
    zoom = 1 + moved * (torch.rand(n) - 0.5) * 0.3
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = zoom
    theta[:, :, 2] = moved[:, None] * (torch.rand(n, 2) - 0.5) * 0.25
    grid = F.affine_grid(theta, list(x.shape), align_corners=False)
    shifted = F.grid_sample(1 - x, grid, align_corners=False)
    return torch.where(moved.bool()[:, None, None, None], 1 - shifted, x)


def difference(x: Tensor, y: Tensor) -> Tensor:
    """Over four scales: L1, squared error (colours that are far off) and L1 of the edges (crisp outlines)."""
    loss = torch.zeros(())
    for _ in range(4):
        loss = loss + (x - y).abs().mean() + 2 * (x - y).square().mean()
        loss = loss + 0.5 * (x.diff(dim=-1) - y.diff(dim=-1)).abs().mean()
        loss = loss + 0.5 * (x.diff(dim=-2) - y.diff(dim=-2)).abs().mean()
        x, y = F.avg_pool2d(x, 2), F.avg_pool2d(y, 2)
    return loss


@torch.no_grad()
def normalise(vae: AutoencoderKL, pictures: Tensor) -> None:
    """Fold an affine map into the weights beside the latents so that (z - SHIFT) * SCALE is standard.

    The map is one factor and one offset a channel; the padding of the decoder's first convolution is zero, so the
    decoder's bias can only undo the offset where a neighbour exists. The training that follows settles the border.
    """
    means = torch.cat([vae.encode(batch).latent_dist.mean for batch in pictures.split(32)])
    mean, deviation = means.mean((0, 2, 3)), means.std((0, 2, 3))
    gain = 1 / (deviation * SCALE)
    offset = SHIFT - gain * mean
    out = vae.encoder.conv_out
    out.weight[:16] *= gain[:, None, None, None]
    out.bias[:16] = out.bias[:16] * gain + offset
    out.bias[16:] += 2 * gain.log()
    first = vae.decoder.conv_in
    first.weight /= gain[None, :, None, None]
    first.bias -= (first.weight.sum((2, 3)) * offset[None]).sum(1)


def train(pictures: Tensor, out: Path, steps: int = STEPS, batch: int = 8) -> dict:
    """Learn to reconstruct [n, 3, 64, 64]; the encoder is normalised and frozen for the last quarter."""
    torch.manual_seed(0)
    vae = model().to(memory_format=torch.channels_last)
    vae.encoder.conv_out.bias.data[16:] = -5
    steppers = optimisers(vae, RATE)
    start = time.time()
    for step in range(steps):
        if step == steps * 3 // 4:
            normalise(vae, pictures)
            vae.encoder.requires_grad_(False)
        warm, left = min(1, (step + 1) / 100), 0.5 + 0.5 * math.cos(math.pi * step / steps)
        set_rate(steppers, RATE * warm * left)
        x = jitter(pictures[torch.randint(len(pictures), (batch,))]).contiguous(memory_format=torch.channels_last)
        latent = vae.encode(x).latent_dist
        # Noise beside the posterior's own makes the decoder smooth where the flow model lands.
        noise = NOISE * latent.mean.detach().std() * torch.randn_like(latent.mean)
        loss = difference(vae.decode(latent.sample() + noise).sample, x) + KL * latent.kl().mean() / (16 * 8 * 8)
        vae.zero_grad()
        loss.backward()
        for stepper in steppers:
            stepper.step()
        if (step + 1) % 100 == 0:
            log.info("vae step %d, %.0f s, loss %.4f", step + 1, time.time() - start, loss.item())
    vae.eval().save_pretrained(out)
    return {"samples": steps * batch, "seconds": round(time.time() - start)} | evaluate(vae, pictures)


@torch.no_grad()
def encode(vae: AutoencoderKL, pictures: Tensor) -> Tensor:
    """Mean latents in the units of the flow model, [n, 16, 8, 8]."""
    means = torch.cat([vae.encode(part).latent_dist.mean for part in pictures.split(32)])
    return (means - SHIFT) * SCALE


@torch.no_grad()
def decode(vae: AutoencoderKL, latents: Tensor) -> Tensor:
    """Flow latents to pictures in 0..1, [n, 3, 64, 64]."""
    pictures = torch.cat([vae.decode(part / SCALE + SHIFT).sample for part in latents.split(32)])
    return (pictures / 2 + 0.5).clamp(0, 1)


@torch.no_grad()
def evaluate(vae: AutoencoderKL, pictures: Tensor) -> dict:
    """Reconstruction quality over the vocabulary and the moments of the latents."""
    latents = encode(vae, pictures)
    error = F.mse_loss(decode(vae, latents), pictures / 2 + 0.5)
    moments = {"mean": round(latents.mean().item(), 3), "deviation": round(latents.std().item(), 3)}
    return {"psnr": round(-10 * error.log10().item(), 2)} | moments
