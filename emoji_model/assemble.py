"""Puts the trained parts into folders that the stock loaders read."""

import shutil
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
)
from tokenizers import Regex, Tokenizer
from tokenizers.models import WordLevel
from tokenizers.normalizers import Replace
from tokenizers.processors import TemplateProcessing
from transformers import (
    CLIPModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    PreTrainedTokenizerFast,
    T5Config,
    T5EncoderModel,
)

from emoji_model.train_clip import write_processor
from emoji_model.vocabulary import HELDOUT, TRAIN

SHIFT = 3.0


def silent_t5() -> tuple[T5EncoderModel, PreTrainedTokenizerFast]:
    """A T5 that reads nothing and says zero, and its tokenizer.

    Without a T5 the pipeline appends zero tokens, but then it only loads when the caller passes text_encoder_3=None.
    With this one the plain call works and the context is the same.
    """
    config = T5Config(vocab_size=3, d_model=128, d_kv=8, d_ff=8, num_layers=1, num_heads=1)
    t5 = T5EncoderModel(config)
    for weight in t5.parameters():
        torch.nn.init.zeros_(weight)
    reader = Tokenizer(WordLevel({"<pad>": 0, "</s>": 1, "<unk>": 2}, unk_token="<unk>"))
    reader.normalizer = Replace(Regex(r"[\s\S]+"), "")
    reader.post_processor = TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    marks = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
    return t5, PreTrainedTokenizerFast(tokenizer_object=reader, model_max_length=512, **marks)


def pipeline(build: Path, out: Path) -> None:
    """A StableDiffusion3Pipeline folder; transformer and autoencoder in half precision to stay small."""
    tokenizer = CLIPTokenizer.from_pretrained(build / "tokenizer")
    t5, t5_tokenizer = silent_t5()
    parts = StableDiffusion3Pipeline(
        transformer=SD3Transformer2DModel.from_pretrained(build / "sd3" / "transformer").half(),
        vae=AutoencoderKL.from_pretrained(build / "vae").half(),
        text_encoder=CLIPTextModelWithProjection.from_pretrained(build / "sd3" / "text_encoder"),
        text_encoder_2=CLIPTextModelWithProjection.from_pretrained(build / "sd3" / "text_encoder_2"),
        text_encoder_3=t5,
        tokenizer=tokenizer,
        tokenizer_2=tokenizer,
        tokenizer_3=t5_tokenizer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=SHIFT),
    )
    shutil.rmtree(out, ignore_errors=True)
    parts.save_pretrained(out)
    for name in ("tokenizer", "tokenizer_2"):
        shutil.rmtree(out / name)
        shutil.copytree(build / "tokenizer", out / name)


def scorer(build: Path, out: Path) -> None:
    """A CLIPModel folder in half precision with its tokenizer and image settings."""
    shutil.rmtree(out, ignore_errors=True)
    CLIPModel.from_pretrained(build / "clip").to(torch.float16).save_pretrained(out)
    shutil.copytree(build / "tokenizer", out, dirs_exist_ok=True)
    write_processor(out)


def prompts(out: Path) -> None:
    """One name a line, without a style word."""
    out.mkdir(parents=True, exist_ok=True)
    for file, names in (("train.txt", TRAIN), ("heldout.txt", HELDOUT)):
        (out / file).write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
