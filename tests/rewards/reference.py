"""What the reference packages say of pictures, with small made-up weights: `make references` records it.

`python -m tests.rewards.reference`, in the environment of Makefile's, writes references.json beside this file: the
scores, the shapes of the weights behind them, and the releases of the packages. Weights, pictures and vocabularies are
made_up.py's, which test_references.py makes once more for this project's rewards.
"""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from PIL import Image

from tests.rewards import made_up
from tests.rewards.made_up import PICTURES, PROMPTS, SIZE

RECORD = Path(__file__).with_name("references.json")
PACKAGES = ("hpsv2", "image-reward", "transformers", "timm", "torch", "torchvision")
LAST = {"input_data_format": "channels_last"}
"""What transformers would guess wrongly for a picture of one pixel."""


def main() -> None:
    """Write references.json."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        inputs = made_up.draw(folder)
        pictures = [Image.open(folder / f"{picture}.png") for picture in PICTURES]
        # hpsv2 fails on pictures with alpha, and what lies behind them is a choice: they are made RGB as ours are.
        pictures = [picture.convert("RGB") if picture.mode == "RGBA" else picture for picture in pictures]
        made_up.write_clip_words(folder / "clip-vit-large-patch14")
        made_up.write_bert_words(folder / "bert-base-uncased")
        rewards: dict[str, Any] = {}
        with torch.inference_mode():
            for reward in (hpsv2, imagereward, pickscore, aesthetic):
                scores, shapes = reward(folder, pictures)
                rewards[reward.__name__] = {"scores": scores, "weights": shapes}
            check_the_official_way(folder, pictures, rewards["hpsv2"]["scores"])
    for each in rewards.values():
        each["scores"] = [round(score, 6) for score in each["scores"]]
    record = {"packages": {name: version(name) for name in PACKAGES}, "inputs": inputs, "rewards": rewards}
    on_a_line = re.sub(
        r"\[[^][{}]*\]",
        lambda found: re.sub(r"\s+", " ", found.group()).replace("[ ", "[").replace(" ]", "]"),
        json.dumps(record, indent=1),
    )
    RECORD.write_text(on_a_line + "\n", encoding="utf-8")


def hpsv2(folder: Path, pictures: list[Image.Image]) -> tuple[list[float], Any]:
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
    shapes = made_up.fill(model)
    (folder / "HPSv2").mkdir()
    torch.save({"state_dict": model.state_dict()}, folder / "HPSv2" / "HPS_v2_compressed.pt")

    tokenizer = SimpleTokenizer()
    words = folder / "clip-vit-large-patch14"
    specials = {"<start_of_text>": "<|startoftext|>", "<end_of_text>": "<|endoftext|>"}
    encoder = {specials.get(token, token): number for token, number in tokenizer.encoder.items()}
    assert json.loads((words / "vocab.json").read_text(encoding="utf-8")) == encoder
    merges = "\n".join(" ".join(pair) for pair in tokenizer.bpe_ranks)
    assert (words / "merges.txt").read_text(encoding="utf-8") == f"#version: 0.2\n{merges}\n"

    scores = []
    for picture, prompt in zip(pictures, PROMPTS, strict=True):
        outputs = model(prepare(picture)[None], tokenize([prompt]))
        scores.append(float((outputs["image_features"] @ outputs["text_features"].T).diagonal()))
    return scores, shapes


def check_the_official_way(folder: Path, pictures: list[Image.Image], scores: list[float]) -> None:
    """This project asks the package as it wants, with the model and the file that it would otherwise download."""
    import hpsv2.img_score
    import numpy as np
    from hpsv2.src.open_clip import create_model_and_transforms

    from treegrpo.rewards.official_hps import OfficialHps

    model, _, prepare = create_model_and_transforms("small", light_augmentation=True, output_dict=True)
    hpsv2.img_score.model_dict.update(model=model, preprocess_val=prepare)
    hpsv2.img_score.huggingface_hub.hf_hub_download = lambda repo, name: str(folder / repo.split("/")[1] / name)
    image = torch.from_numpy(np.asarray(pictures[0].convert("RGB"))).float() / 255
    same = torch.stack([image, image.flip(0), image])  # one call judges pictures of one size
    first, flipped, again = OfficialHps("hpsv2").score(same, [PROMPTS[0], PROMPTS[0], PROMPTS[1]]).tolist()
    [alone] = OfficialHps("hpsv2").score(image[None], [PROMPTS[1]]).tolist()
    assert abs(first - scores[0]) < 1e-6
    assert abs(flipped - first) > 1e-3
    assert abs(again - alone) < 1e-6, "every picture is judged by its own prompt"
    assert abs(again - first) > 1e-3


def imagereward(folder: Path, pictures: list[Image.Image]) -> tuple[list[float], Any]:
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

    def small_tokenizer() -> BertTokenizer:
        tokenizer = BertTokenizer(str(folder / "bert-base-uncased" / "vocab.txt"))
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
                "vocab_size": len(made_up.BERT_PIECES) + 2,
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
    shapes = made_up.fill(model)
    return [model.score(prompt, picture) for picture, prompt in zip(pictures, PROMPTS, strict=True)], shapes


def small_clip(folder: Path) -> tuple[torch.nn.Module, Any, dict[str, list[int]]]:
    """A CLIP model and its processor, as transformers has them, and the shapes of its weights."""
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel, CLIPProcessor, CLIPTokenizer

    model = CLIPModel(CLIPConfig(**made_up.CLIP)).eval()
    shapes = made_up.fill(model)
    model.logit_scale.fill_(made_up.LOGIT_SCALE)
    words = folder / "clip-vit-large-patch14"
    tokenizer = CLIPTokenizer(str(words / "vocab.json"), str(words / "merges.txt"))
    pixels = CLIPImageProcessor(size={"shortest_edge": SIZE}, crop_size={"height": SIZE, "width": SIZE})
    return model, CLIPProcessor(pixels, tokenizer), shapes


def pickscore(folder: Path, pictures: list[Image.Image]) -> tuple[list[float], Any]:
    """As the model card of PickScore_v1 computes it."""
    model, processor, shapes = small_clip(folder)
    scores = []
    for picture, prompt in zip(pictures, PROMPTS, strict=True):
        seen = processor(images=[picture], return_tensors="pt", **LAST)
        read = processor(text=prompt, padding=True, truncation=True, max_length=77, return_tensors="pt")
        image, text = model.get_image_features(**seen), model.get_text_features(**read)
        image, text = image / image.norm(dim=-1, keepdim=True), text / text.norm(dim=-1, keepdim=True)
        scores.append(float((model.logit_scale.exp() * (text @ image.T))[0]))
    return scores, shapes


def aesthetic(folder: Path, pictures: list[Image.Image]) -> tuple[list[float], Any]:
    """As trl's AestheticScorer: the layers of image-reward's copy of the predictor on a normalised embedding."""
    from ImageReward.ImageReward import MLP

    model, processor, shapes = small_clip(folder)
    head = MLP(48)  # image-reward's MLP was made smaller above, whatever the width
    head = type(head)(24)
    shapes_of_head = made_up.fill(head.eval())
    scores = []
    for picture in pictures:
        image = model.get_image_features(**processor(images=[picture], return_tensors="pt", **LAST))
        scores.append(float(head(image / torch.linalg.vector_norm(image, dim=-1, keepdim=True))))
    return scores, {"clip": shapes, "head": shapes_of_head}


if __name__ == "__main__":
    main()
