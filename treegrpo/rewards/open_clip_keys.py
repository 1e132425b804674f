"""Weights of a CLIP model from open_clip's names to transformers' names."""

from __future__ import annotations

from torch import Tensor

WHOLE = {
    "logit_scale": "logit_scale",
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
}
TURNED = {"text_projection": "text_projection.weight", "visual.proj": "visual_projection.weight"}
"""open_clip multiplies from the right, transformers has linear layers."""
NORMS = {
    "ln_final": "text_model.final_layer_norm",
    "visual.ln_pre": "vision_model.pre_layrnorm",
    "visual.ln_post": "vision_model.post_layernorm",
}
TOWERS = {
    "transformer.resblocks": "text_model.encoder.layers",
    "visual.transformer.resblocks": "vision_model.encoder.layers",
}
IN_BLOCK = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "attn.out_proj": "self_attn.out_proj",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
}


def to_transformers(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same weights under the names of transformers' CLIPModel; what is no part of open_clip's CLIP is left out."""
    renamed: dict[str, Tensor] = {}
    for name, value in state.items():
        module, _, kind = name.rpartition(".")
        if name in WHOLE:
            renamed[WHOLE[name]] = value
        elif name in TURNED:
            renamed[TURNED[name]] = value.T.contiguous()
        elif module in NORMS:
            renamed[f"{NORMS[module]}.{kind}"] = value
        else:
            renamed.update(_block(name, value))
    return renamed


def _block(name: str, value: Tensor) -> dict[str, Tensor]:
    """One tensor of a residual block: `tower.number.part.kind`; the three projections of attention are one tensor."""
    for tower, layers in TOWERS.items():
        number, _, rest = name.removeprefix(f"{tower}.").partition(".")
        part, _, kind = rest.rpartition(".")
        if not name.startswith(f"{tower}.") or not number.isdigit():
            continue
        if rest in ("attn.in_proj_weight", "attn.in_proj_bias"):
            kind = rest.rpartition("_")[2]
            thirds = zip("qkv", value.chunk(3), strict=True)
            return {f"{layers}.{number}.self_attn.{which}_proj.{kind}": third.clone() for which, third in thirds}
        if part in IN_BLOCK:
            return {f"{layers}.{number}.{IN_BLOCK[part]}.{kind}": value}
    return {}
