"""Everything from scratch: pictures, tokenizer, autoencoder, flow model, scorer, figures and cards.

Run `python -m emoji_model.build` in the repository root; what is needed on the way lies in build/.
"""

import json
import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
from diffusers import AutoencoderKL

from emoji_model import assemble, measure, model_card, pictures, tokenizer, train_clip, train_sd3, train_vae
from emoji_model.vocabulary import NAMES, STYLES

BUILD = Path("build")
BUNDLED = Path("treegrpo") / "bundled"


def noted(name: str, work: Callable[[], dict]) -> dict:
    """Do the work and keep its figures in build/<name>.json."""
    figures = work()
    (BUILD / f"{name}.json").write_text(json.dumps(figures, indent=2), encoding="utf-8")
    logging.info("%s: %s", name, figures)
    return figures


def finish(drawn: dict[str, np.ndarray]) -> None:
    """Write the shipped folders from the trained parts, measure them and describe them."""
    assemble.pipeline(BUILD, BUNDLED / "emoji-sd3")
    assemble.scorer(BUILD, BUNDLED / "emoji-clip")
    assemble.prompts(BUNDLED / "prompts")
    noted("scorer", lambda: measure.scorer(BUNDLED / "emoji-clip", drawn))
    noted("model", lambda: measure.model(BUNDLED / "emoji-sd3", BUNDLED / "emoji-clip"))
    measure.sample_grid(BUNDLED / "emoji-sd3", BUNDLED / "emoji-sd3" / "samples.png")
    model_card.write(BUILD, BUNDLED)


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    modules = pictures.fetch(BUILD / "npm")
    pictures.render(modules, BUILD / "pictures.npz")
    drawn = dict(np.load(BUILD / "pictures.npz"))
    other_names = drawn["other_names"].tolist()
    tokenizer.build(pictures.labels(modules), other_names, BUILD / "tokenizer")

    known = train_vae.to_tensor(drawn["vocabulary"])
    noted("vae", lambda: train_vae.train(known, BUILD / "vae"))
    vae = AutoencoderKL.from_pretrained(BUILD / "vae")
    vocabulary = known.unflatten(0, (len(NAMES), len(STYLES)))
    others = train_vae.to_tensor(drawn["others"]).unflatten(0, (len(other_names), len(STYLES)))
    latents = train_vae.encode(vae, known).unflatten(0, (len(NAMES), len(STYLES)))
    noted("sd3", lambda: train_sd3.train(latents, BUILD / "tokenizer", BUILD / "sd3"))
    noted(
        "clip",
        lambda: train_clip.train(vocabulary, others, other_names, vae, BUILD / "tokenizer", BUILD / "clip"),
    )
    finish(drawn)


if __name__ == "__main__":
    main()
