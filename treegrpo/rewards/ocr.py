"""Text that can be read: the words in quotes in the prompt, looked for in the picture by PP-OCR.

The score is the one of Flow-GRPO (arXiv 2505.05470, flow_grpo/ocr.py), 1 - min(distance, length) / length. There the
wanted text scores 1 anywhere in what is read, and otherwise everything that is read counts; here the distance is always
that to the best-matching stretch, so that one wrong letter on a busy sign costs one letter.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Callable, Sequence
from math import nan
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from PIL import Image
from torch import Tensor

from ..errors import UsageError
from .post import quote

if TYPE_CHECKING:
    import numpy as np

MODELS = {"Det.model_path": "PP-OCRv6_det_small.onnx", "Rec.model_path": "PP-OCRv6_rec_small.onnx"}
"""The networks that find and read lines, in rapidocr's folder of models. By path, since what rapidocr looks up by its
own settings it downloads when it is missing or altered."""

# A straight quote after a digit is inches, and a curly one beside a letter an apostrophe.
QUOTED = re.compile(r'(?<!\d)"([^"]+)"|“([^”]+)”|(?<!\w)‘(.+?)’(?!\w)|«([^»]+)»|「([^」]+)」', re.DOTALL)


class Ocr:
    """How much of the text in quotes can be read, 0..1; runs on the CPU, one picture after the other.

    Several quoted texts are wanted one after the other, as the lines of a picture are read. Case and spaces do not
    count: PP-OCR drops spaces, though not all. Reads Latin, Chinese and Japanese. Raises UsageError when rapidocr,
    onnxruntime or the models are missing.
    """

    name = "ocr"
    may_leave_out = True  # it knows beforehand of which prompts

    def __init__(self) -> None:
        self.read = reader()

    def check(self, prompts: Sequence[str]) -> list[str]:
        """See Reward."""
        without = [prompt for prompt in prompts if not wanted(prompt)]
        if len(without) == len(prompts):
            raise UsageError(
                f"rewards: ocr finds no text in quotes in any prompt, such as {quote(prompts[0])}; put the words that "
                "the picture shall show in double quotes, or leave this reward out."
            )
        if not without:
            return []
        return [
            f"ocr has no opinion on {len(without)} of {len(prompts)} prompts, which have no text in quotes (such as "
            f"{quote(without[0])}), and their pictures are not trained on."
        ]

    def score(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """Scores float32 [N] for images float32 [N, H, W, 3] in 0..1, NaN for prompts without quotes."""
        levels = (images.clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()
        pictures = zip(map(wanted, prompts), levels, strict=True)
        scores = [likeness(text, self.read(pixels)) if text else nan for text, pixels in pictures]
        return torch.tensor(scores, dtype=torch.float32)


def wanted(prompt: str) -> str:
    """What stands in quotes, joined and `plain`; "" where nothing does."""
    return plain("".join("".join(parts) for parts in QUOTED.findall(prompt)))


def plain(text: str) -> str:
    """Without case and spaces, and with the characters that PP-OCR reads: "…" is three dots, "’" is "'"."""
    folded = unicodedata.normalize("NFKC", text).replace("’", "'").casefold()
    return "".join(folded.split())


def likeness(text: str, found: str) -> float:
    """1 - distance / length, 0..1, where the distance is that of `text` to the stretch of `found` that is nearest."""
    return 1 - stretch_distance(text, found) / len(text)


def stretch_distance(text: str, found: str) -> int:
    """The least number of letters to add, remove or change that makes `text` a stretch of `found`; at most its length.

    Sellers 1980, "The theory and computation of evolutionary distances": the table of the edit distance, where a
    stretch may begin and end anywhere.
    """
    row = list(range(len(text) + 1))
    least = row[-1]
    for letter in found:
        above, row = row, [0]
        for i, own in enumerate(text):
            row.append(min(above[i] + (own != letter), above[i + 1] + 1, row[i] + 1))
        least = min(least, row[-1])
    return least


def reading_order(boxes: np.ndarray) -> list[int]:
    """Indices of boxes [B, 4, 2] (corners x, y in pixels) from top to bottom, and in a line from left to right.

    A box belongs to a line when its middle is above the lower edge of the line's first. rapidocr's own order tells
    lines apart by 10 pixels, which swaps large words that stand a little askew.
    """
    left, top, bottom = boxes[..., 0].min(1), boxes[..., 1].min(1), boxes[..., 1].max(1)
    middle = (top + bottom) / 2
    lines: list[list[int]] = []
    for i in middle.argsort(kind="stable").tolist():
        if lines and middle[i] < bottom[lines[-1][0]]:
            lines[-1].append(i)
        else:
            lines.append([i])
    return [i for line in lines for i in sorted(line, key=lambda i: left[i])]


@functools.cache
def reader() -> Callable[[np.ndarray], str]:
    """What reads a picture uint8 [H, W, 3] as one `plain` text; made once. Raises UsageError when a part is missing."""
    try:
        import onnxruntime  # noqa: F401
        import rapidocr
        from rapidocr import RapidOCR
    except ImportError as error:
        raise UsageError(
            f"rewards: ocr needs rapidocr and onnxruntime ({error}); pip install rapidocr onnxruntime."
        ) from None
    folder = Path(rapidocr.__file__).parent / "models"
    for file in MODELS.values():
        if not (folder / file).is_file():
            raise UsageError(f"rewards: ocr needs {file}, which is not in {folder}; pip install 'rapidocr==3.10.*'.")
    engine = RapidOCR(
        params={
            **{key: str(folder / file) for key, file in MODELS.items()},
            # Upside-down text is not to be read.
            "Global.use_cls": False,
            # It warns of every picture without text.
            "Global.log_level": "critical",
            # By default, a thread for each core of the machine, whatever torch was told.
            "EngineConfig.onnxruntime.intra_op_num_threads": torch.get_num_threads(),
        }
    )

    def read(pixels: np.ndarray) -> str:
        lines = engine(Image.fromarray(pixels))
        return plain("".join(lines.txts[i] for i in reading_order(lines.boxes))) if len(lines) else ""

    return read
