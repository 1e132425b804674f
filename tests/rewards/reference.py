"""What the reference packages say of pictures, with small random weights. Run in an environment of its own (Makefile).

`python reference.py FOLDER` reads the pictures of FOLDER/pictures.json, writes each reward's weights and vocabulary
below FOLDER as they would come from the hub, and the scores to FOLDER/scores.json.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from pathlib import Path
from types import ModuleType

import torch
from PIL import Image

SIZE = 56
"""Pixels of the small models. Not that of any picture: a picture of the right size would not be resized."""

LAST = {"input_data_format": "channels_last"}
"""What transformers would guess wrongly for a picture of one pixel."""


def main(folder: Path) -> None:
    """Write everything below `folder`."""
    asked = json.loads((folder / "pictures.json").read_text())
    pictures = [Image.open(folder / name) for name in asked["pictures"]]
    scores = {}
    for reward in (hpsv2, official_hpsv2, imagereward, pickscore, aesthetic):
        torch.manual_seed(0)
        with torch.inference_mode():
            scores[reward.__name__] = reward(folder, pictures, asked["prompts"])
    (folder / "scores.json").write_text(json.dumps(scores))


def spread_out(network: torch.nn.Module) -> None:
    """Random weights that make a difference: fresh ones are so small that every picture gets the same score."""
    for parameter in network.parameters():
        if parameter.ndim > 1:
            parameter.normal_(std=1.5 / parameter.shape[-1] ** 0.5)
        else:
            parameter.add_(0.1 * torch.randn_like(parameter))


def hpsv2(folder: Path, pictures: list[Image.Image], prompts: list[str]) -> list[float]:
    """As hpsv2.score: its own model factory, preprocessing and tokenizer, one picture at a time."""
    package = Path(importlib.util.find_spec("hpsv2").origin).parent / "src" / "open_clip"
    vocabulary = package / "bpe_simple_vocab_16e6.txt.gz"
    if not vocabulary.exists():  # the wheel forgets it
        shutil.copy(Path(importlib.util.find_spec("open_clip").origin).parent / vocabulary.name, vocabulary)
    sys.modules["turtle"] = ModuleType("turtle")  # the factory imports it by mistake, and it needs Tk
    sys.modules["turtle"].forward = None
    from hpsv2.src.open_clip import create_model_and_transforms
    from hpsv2.src.open_clip.factory import add_model_config
    from hpsv2.src.open_clip.tokenizer import SimpleTokenizer, tokenize

    tower = {"layers": 2, "width": 32}
    vision = {**tower, "head_width": 8, "patch_size": 14, "image_size": SIZE}
    text = {**tower, "heads": 4, "context_length": 77, "vocab_size": 49408}
    (folder / "small.json").write_text(json.dumps({"embed_dim": 24, "vision_cfg": vision, "text_cfg": text}))
    add_model_config(folder / "small.json")
    model, _, prepare = create_model_and_transforms("small", light_augmentation=True, output_dict=True)
    model.eval()
    spread_out(model)
    weights = folder / "HPSv2"
    weights.mkdir()
    torch.save({"state_dict": model.state_dict()}, weights / "HPS_v2_compressed.pt")

    tokenizer = SimpleTokenizer()
    words = folder / "clip-vit-large-patch14"
    words.mkdir()
    specials = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
    encoder = {specials.get(token, token): number for token, number in tokenizer.encoder.items()}
    (words / "vocab.json").write_text(json.dumps(encoder))
    merges = "\n".join(" ".join(pair) for pair in tokenizer.bpe_ranks)
    (words / "merges.txt").write_text(f"#version: 0.2\n{merges}\n")

    scores = []
    for picture, prompt in zip(pictures, prompts, strict=True):
        outputs = model(prepare(picture)[None], tokenize([prompt]))
        scores.append(float((outputs["image_features"] @ outputs["text_features"].T).diagonal()))
    return scores


def official_hpsv2(folder: Path, pictures: list[Image.Image], prompts: list[str]) -> list[float]:
    """This project's way to the package, with the model and the file that the package would otherwise download."""
    import hpsv2.img_score
    import numpy as np
    from hpsv2.src.open_clip import create_model_and_transforms

    from treegrpo.rewards.official_hps import OfficialHps

    model, _, prepare = create_model_and_transforms("small", light_augmentation=True, output_dict=True)
    hpsv2.img_score.model_dict.update(model=model, preprocess_val=prepare)
    hpsv2.img_score.huggingface_hub.hf_hub_download = lambda repo, name: str(folder / repo.split("/")[1] / name)
    images = [torch.from_numpy(np.asarray(picture.convert("RGB"))).float() / 255 for picture in pictures]
    same = torch.stack([images[0], images[0].flip(0), images[0]])  # one call judges pictures of one size
    [first, flipped, again] = OfficialHps("hpsv2").score(same, [prompts[0], prompts[0], prompts[1]])
    alone = OfficialHps("hpsv2").score(images[0][None], [prompts[1]])
    return [float(value) for value in (first, flipped, again, *alone)]


def imagereward(folder: Path, pictures: list[Image.Image], prompts: list[str]) -> list[float]:
    """As ImageReward.score, with a smaller BLIP and a made-up vocabulary."""
    package = Path(importlib.util.find_spec("ImageReward").submodule_search_locations[0])
    for name, inside in (("ImageReward", ""), ("ImageReward.models", "models")):  # their __init__ import all of it
        module = ModuleType(name)
        module.__path__ = [str(package / inside)]
        sys.modules[name] = module
    from ImageReward import ImageReward as code
    from ImageReward.models.BLIP import blip_pretrain
    from ImageReward.models.BLIP.vit import VisionTransformer
    from transformers import BertTokenizer

    words = folder / "bert-base-uncased"
    words.mkdir()
    letters = [chr(code_point) for code_point in range(33, 127)]
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters), "fox"]
    (words / "vocab.txt").write_text("\n".join(pieces))

    def small_tokenizer() -> BertTokenizer:
        tokenizer = BertTokenizer(str(words / "vocab.txt"))
        tokenizer.add_special_tokens({"bos_token": "[DEC]"})
        tokenizer.add_special_tokens({"additional_special_tokens": ["[ENC]"]})
        return tokenizer

    def small_vit(_size: str, image_size: int, *_: object) -> tuple[VisionTransformer, int]:
        return VisionTransformer(img_size=image_size, patch_size=28, embed_dim=32, depth=2, num_heads=4), 32

    blip_pretrain.create_vit, blip_pretrain.init_tokenizer = small_vit, small_tokenizer
    head = code.MLP
    code.MLP = lambda _width: head(48)
    settings = folder / "med_config.json"
    settings.write_text(
        json.dumps(
            {
                "vocab_size": len(pieces) + 2,
                "hidden_size": 48,
                "encoder_width": 32,
                "intermediate_size": 96,
                "num_hidden_layers": 2,
                "num_attention_heads": 4,
                "add_cross_attention": True,
                "layer_norm_eps": 1e-12,
            }
        )
    )
    model = code.ImageReward(str(settings)).eval()
    spread_out(model)
    weights = folder / "ImageReward"
    weights.mkdir()
    torch.save(model.state_dict(), weights / "ImageReward.pt")
    return [model.score(prompt, picture) for picture, prompt in zip(pictures, prompts, strict=True)]


def small_clip(folder: Path) -> tuple[torch.nn.Module, object]:
    """A CLIP model and its processor, as transformers has them; the model is saved in `folder`."""
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor, CLIPTokenizer

    tower = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    config = CLIPConfig(
        text_config={**tower, "projection_dim": 24},
        vision_config={**tower, "projection_dim": 24, "image_size": SIZE, "patch_size": 14},
        projection_dim=24,
    )
    model = CLIPModel(config).eval()
    spread_out(model)
    model.logit_scale.fill_(4.6)
    model.save_pretrained(folder)
    words = folder.parent / "clip-vit-large-patch14"
    tokenizer = CLIPTokenizer(str(words / "vocab.json"), str(words / "merges.txt"))
    pixels = CLIPImageProcessor(size={"shortest_edge": SIZE}, crop_size={"height": SIZE, "width": SIZE})
    return model, CLIPProcessor(pixels, tokenizer)


def pickscore(folder: Path, pictures: list[Image.Image], prompts: list[str]) -> list[float]:
    """As the model card of PickScore_v1 computes it."""
    model, processor = small_clip(folder / "PickScore_v1")
    scores = []
    for picture, prompt in zip(pictures, prompts, strict=True):
        seen = processor(images=[picture], return_tensors="pt", **LAST)
        read = processor(text=prompt, padding=True, truncation=True, max_length=77, return_tensors="pt")
        image, text = model.get_image_features(**seen), model.get_text_features(**read)
        image, text = image / image.norm(dim=-1, keepdim=True), text / text.norm(dim=-1, keepdim=True)
        scores.append(float((model.logit_scale.exp() * (text @ image.T))[0]))
    return scores


def aesthetic(folder: Path, pictures: list[Image.Image], prompts: list[str]) -> list[float]:
    """As trl's AestheticScorer: the layers of image-reward's copy of the predictor on a normalised embedding."""
    from ImageReward.ImageReward import MLP

    model, processor = small_clip(folder / "clip-vit-large-patch14")
    head = MLP(48)  # image-reward's MLP was made smaller above, whatever the width
    head = type(head)(24)
    spread_out(head.eval())
    weights = folder / "ddpo-aesthetic-predictor"
    weights.mkdir()
    torch.save(head.state_dict(), weights / "aesthetic-model.pth")
    scores = []
    for picture in pictures:
        image = model.get_image_features(**processor(images=[picture], return_tensors="pt", **LAST))
        scores.append(float(head(image / torch.linalg.vector_norm(image, dim=-1, keepdim=True))))
    return scores


if __name__ == "__main__":
    main(Path(sys.argv[1]))
