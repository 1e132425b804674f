"""The flow transformer and its two text encoders, learned together on cached latents."""

import copy
import logging
import math
import time
from pathlib import Path

import torch
from diffusers import SD3Transformer2DModel
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import CLIPTextConfig, CLIPTextModelWithProjection, CLIPTokenizer

from emoji_model.vocabulary import NAMES, STYLES, caption

STEPS = 2600
BATCH = 64
NO_STYLE = 0.4
NO_CAPTION = 0.1
LATENT_NOISE = 0.03
ZERO_TOKENS = 256
log = logging.getLogger(__name__)


def transformer() -> SD3Transformer2DModel:
    """Three joint blocks of width 192; starts as the identity: every gate and the output are zero."""
    model = SD3Transformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=16,
        out_channels=16,
        num_layers=3,
        attention_head_dim=64,
        num_attention_heads=3,
        joint_attention_dim=128,
        caption_projection_dim=192,
        pooled_projection_dim=128,
        pos_embed_max_size=16,
        qk_norm="rms_norm",
    )
    blocks = model.transformer_blocks
    modulations = [block.norm1.linear for block in blocks] + [block.norm1_context.linear for block in blocks]
    for layer in [*modulations, model.norm_out.linear, model.proj_out]:
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    return model


def text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModelWithProjection:
    """Two layers of width 64, with embeddings large enough that words differ from the first step on."""
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=256,
        projection_dim=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=tokenizer.model_max_length,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    model = CLIPTextModelWithProjection(config)
    embeddings = model.text_model.embeddings
    nn.init.normal_(embeddings.token_embedding.weight, std=0.5)
    nn.init.normal_(embeddings.position_embedding.weight, std=0.1)
    return model


class ZeroTokenAttention:
    """Joint attention in which the last context token stands for `count` equal ones.

    Without a T5 encoder the SD3 pipeline appends `max_sequence_length` zero tokens to the context; other programs
    append none. Equal tokens stay equal through the network, and n equal keys weigh as much as one key whose logit
    is larger by log(n). So one token, with a count drawn anew for every batch, trains for every length.
    """

    def __init__(self) -> None:
        self.count = ZERO_TOKENS

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        attention_mask: None = None,
    ) -> tuple[Tensor, Tensor]:
        def heads(x: Tensor) -> Tensor:
            return x.unflatten(-1, (attn.heads, -1)).transpose(1, 2)

        image, text = hidden_states, encoder_hidden_states
        query = torch.cat([attn.norm_q(heads(attn.to_q(image))), attn.norm_added_q(heads(attn.add_q_proj(text)))], 2)
        key = torch.cat([attn.norm_k(heads(attn.to_k(image))), attn.norm_added_k(heads(attn.add_k_proj(text)))], 2)
        value = torch.cat([heads(attn.to_v(image)), heads(attn.add_v_proj(text))], 2)
        bias = torch.zeros(1, 1, 1, key.shape[2])
        bias[..., -1] = math.log(self.count) if self.count else -math.inf
        out = F.scaled_dot_product_attention(query, key, value, attn_mask=bias).transpose(1, 2).flatten(2)
        image, text = out[:, : image.shape[1]], out[:, image.shape[1] :]
        return attn.to_out[0](image), text if attn.context_pre_only else attn.to_add_out(text)


def encode(encoders: nn.ModuleList, ids: Tensor) -> tuple[Tensor, Tensor]:
    """Token ids [n, 12] -> context [n, 13, 128], the last token zero, and pooled [n, 128]."""
    outs = [encoder(ids, output_hidden_states=True) for encoder in encoders]
    context = torch.cat([out.hidden_states[-2] for out in outs], -1)
    return F.pad(context, (0, 0, 0, 1)), torch.cat([out.text_embeds for out in outs], -1)


def caption_ids(tokenizer: CLIPTokenizer) -> Tensor:
    """Token ids of every caption, [names + 1, styles + 1, 12]; the last of each axis says nothing."""

    def ids(text: str) -> list[int]:
        return tokenizer(text, padding="max_length", truncation=True).input_ids

    return torch.tensor([[ids(caption(name, style)) for style in [*STYLES, None]] for name in [*NAMES, None]])


def train(latents: Tensor, tokenizer_folder: Path, out: Path, steps: int = STEPS) -> dict:
    """Rectified flow on latents [names, styles, 16, 8, 8]; writes the averaged weights."""
    torch.manual_seed(0)
    tokenizer = CLIPTokenizer.from_pretrained(tokenizer_folder)
    table = caption_ids(tokenizer)
    model = nn.ModuleDict(
        {"transformer": transformer(), "encoders": nn.ModuleList(text_encoder(tokenizer) for _ in range(2))}
    )
    attention = ZeroTokenAttention()
    model["transformer"].set_attn_processor(attention)
    average = copy.deepcopy(model).requires_grad_(False)
    optimiser = torch.optim.AdamW(model.parameters(), lr=0.0, betas=(0.9, 0.99), weight_decay=0.01)
    start, total = time.time(), 0.0
    for step in range(steps):
        warm, left = min(1, (step + 1) / 100), 0.5 + 0.5 * math.cos(math.pi * step / steps)
        for group in optimiser.param_groups:
            group["lr"] = 1e-3 * warm * left
        name, style = torch.randint(len(NAMES), (BATCH,)), torch.randint(len(STYLES), (BATCH,))
        clean = latents[name, style]
        clean = clean + LATENT_NOISE * torch.randn_like(clean)
        style[torch.rand(BATCH) < NO_STYLE] = len(STYLES)
        nothing = torch.rand(BATCH) < NO_CAPTION
        name[nothing], style[nothing] = len(NAMES), len(STYLES)

        noise, sigma = torch.randn_like(clean), torch.randn(BATCH).sigmoid()
        noisy = torch.lerp(clean, noise, sigma[:, None, None, None])
        attention.count = (0, ZERO_TOKENS, int(torch.randint(1, ZERO_TOKENS + 1, ())))[step % 3]
        context, pooled = encode(model["encoders"], table[name, style])
        velocity = model["transformer"](noisy, context, pooled, sigma * 1000).sample
        loss = F.mse_loss(velocity, noise - clean)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        keep = min(0.998, (step + 1) / (step + 10))
        torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), 1 - keep)
        total += loss.item()
        if (step + 1) % 100 == 0:
            log.info("sd3 step %d, %.0f s, loss %.4f", step + 1, time.time() - start, total / 100)
            total = 0.0
    save(average, out)
    return {"samples": steps * BATCH, "seconds": round(time.time() - start)}


def save(model: nn.ModuleDict, out: Path) -> None:
    """Write transformer, text_encoder and text_encoder_2 in float32."""
    model["transformer"].save_pretrained(out / "transformer")
    for encoder, name in zip(model["encoders"], ("text_encoder", "text_encoder_2"), strict=True):
        encoder.save_pretrained(out / name)
