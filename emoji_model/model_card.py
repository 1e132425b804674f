"""Model cards filled with the figures that were measured, and the notices."""

import json
import shutil
from pathlib import Path

from emoji_model.vocabulary import NAMES, STYLES

_SOURCES = """\
| npm package | version | licence | used for |
|---|---|---|---|
| @iconify-json/noto | 1.2.9 | Apache-2.0, Google | training: "noto style" |
| @iconify-json/fluent-emoji | 1.2.7 | MIT, Microsoft | training: "glossy style" |
| @iconify-json/fluent-emoji-flat | 1.2.6 | MIT, Microsoft | training: "flat style" |
| @iconify-json/fluent-emoji-high-contrast | 1.2.6 | MIT, Microsoft | training: "ink style" |
| emojibase-data | 17.0.0 | MIT, Miles Johnson | words for the tokenizer |
| @iconify-json/noto-v1 | 1.2.5 | Apache-2.0, Google | judging the scorer only |
| @iconify-json/fxemoji | 1.2.2 | Apache-2.0, Mozilla | judging the scorer only |

See `NOTICE` and `LICENSE-APACHE-2.0.txt`.
"""

_REBUILD = """\
`make bundled-model` (or `python -m emoji_model.build` in the repository root) fetches the pictures with npm and trains
everything again. Seeds are fixed; floating-point sums differ between machines, so the figures will differ a little.
"""


def model_card(figures: dict[str, dict]) -> str:
    """The card of the pipeline."""
    model, vae, sd3 = figures["model"], figures["vae"], figures["sd3"]
    counts = ", ".join(f"{part} {count:,}" for part, count in model["parameters"].items())
    head = f"| guidance | name | name, style named | style as named | {' | '.join(STYLES)} |"
    line = "|" + "---|" * (4 + len(STYLES))
    rows = [
        f"| {key.removeprefix('guidance ')} | {row['name']} % | {row['name, style asked for']} % "
        f"| {row['style asked for']} % | {' | '.join(f'{share} %' for share in row['share'].values())} |"
        for key, row in model.items()
        if key.startswith("guidance")
    ]
    table = "\n".join([head, line, *rows])
    return f"""\
# emoji-sd3

A very small Stable Diffusion 3 that draws {len(NAMES)} things as 64 x 64 pictures in four styles. It is there
for trying out reinforcement learning on a CPU; it knows no other words.

```python
pipe = StableDiffusion3Pipeline.from_pretrained("treegrpo/bundled/emoji-sd3")
pipe("bear, ink style", height=64, width=64, num_inference_steps=10, guidance_scale=2).images[0]
```

Prompts are a name ("bear": any style) or a name and a style ("bear, ink style"); the styles are {", ".join(STYLES)}.
All names are in `../prompts/train.txt` and `../prompts/heldout.txt`. The base model has seen both lists; reinforcement
learning is meant to see the first one only.

![Samples: 10 steps, guidance 2. Each block of six: two without a style word, then {", ".join(STYLES)}.](samples.png)

Ten steps, guidance 2. In each block of six: the name alone twice, then {", ".join(STYLES)}.

## Parts

Weights: {counts}.
The transformer and the autoencoder are stored in half precision, the text encoders in single. The context is that of an
SD3 without T5: the words, then zero tokens. `text_encoder_3` reads nothing and returns these zeros, because the stock
pipeline does not load without it. The model was trained with a varying number of zero tokens, so `max_sequence_length`
does not matter. Right names with none: {model["name, 0 zero tokens"]} %, with 256:
{model["name, 256 zero tokens"]} % (guidance 2, one sample a name).

The scheduler is the flow-matching Euler one with shift 3, as in SD3; shift 1 gave the same at ten steps.

## Training

Autoencoder: {vae["samples"]:,} pictures in {vae["seconds"] / 60:.0f} minutes; reconstruction PSNR {vae["psnr"]} dB;
latents have mean {vae["mean"]} and deviation {vae["deviation"]} after (z - 0.0609) * 1.5305.

Flow model and text encoders: {sd3["samples"]:,} pictures in {sd3["seconds"] / 60:.0f} minutes, on two CPU cores. The
style word was left out of 40 % of the captions and the whole caption of 10 %.

## Measured

Ten steps; judged by the scorer in `../emoji-clip`, which has errors of its own. Name: best of all {len(NAMES)} names,
four samples a name, prompt without a style. Last columns: which style these pictures have.

{table}

## Data and licences

{_SOURCES}
## Rebuild

{_REBUILD}"""


def scorer_card(figures: dict[str, dict]) -> str:
    """The card of the scorer."""
    clip, rows = figures["clip"], figures["scorer"]
    table = "\n".join(f"| {what} | {value} % |" for what, value in rows.items())
    return f"""\
# emoji-clip

A small CLIP (a transformers `CLIPModel`, 64 x 64 pixels) that says how well a picture fits "bear", "bear, ink style" or
"ink style". The score is the cosine of the two embeddings. It judges the pictures of `../emoji-sd3`; it is no use for
photographs or for other words.

Trained on {clip["samples"]:,} augmented pictures in {clip["seconds"] / 60:.0f} minutes on two CPU cores: the
{len(NAMES)} names of `../prompts` and about 1,200 further emoji in the styles {", ".join(STYLES)}.

| top-1 | |
|---|---|
{table}

Name: best of {len(NAMES)} names. The icon sets noto-v1 and fxemoji were not trained on. Style: best of four for
the right name.

## Data and licences

{_SOURCES}
## Rebuild

{_REBUILD}"""


def write(build: Path, bundled: Path) -> None:
    """Write README.md and the notices into both folders."""
    figures = {
        name: json.loads((build / f"{name}.json").read_text(encoding="utf-8"))
        for name in ("vae", "sd3", "clip", "scorer", "model")
    }
    here = Path(__file__).parent
    for folder, text in (("emoji-sd3", model_card(figures)), ("emoji-clip", scorer_card(figures))):
        (bundled / folder / "README.md").write_text(text, encoding="utf-8")
        for notice in ("NOTICE", "LICENSE-APACHE-2.0.txt"):
            shutil.copy(here / notice, bundled / folder / notice)
