"""Agreement of picture and words, judged by a CLIP model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from ..bundled import EMOJI_CLIP
from ..errors import UsageError
from .clip import load_folder
from .host import Host
from .weights import CLIP_L, CLIP_WORDS, Source, folder_of


class ClipScore:
    """Cosine similarity of CLIP's image and text embeddings, -1..1.

    The plain cosine: Hessel et al. (arXiv 2104.08718, equation 1) multiply it by 2.5 and cut it off at 0, which
    advantages, being normalised, do not see.

    model: a folder or hub id of a transformers CLIPModel, such as openai/clip-vit-large-patch14; the bundled emoji
    scorer if none is given.
    template: what the picture is compared with; "{prompt}" stands for its prompt, so "{prompt}, ink style" asks for
    the thing in a style that the prompt itself does not name.
    Raises UsageError for a template without "{prompt}", a folder without a CLIP model, or missing weights.
    """

    name = "clipscore"

    def __init__(self, model: str | None = None, template: str = "{prompt}", host: Host | None = None) -> None:
        if "{prompt}" not in template:
            raise UsageError(
                f'rewards.template: "{template}" has no {{prompt}}; write for example "{{prompt}}, ink style".'
            )
        self.template, host = template, host or Host()
        self.clip = load_folder(_folder(model, host), host)

    def score(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """Scores float32 [N] for images float32 [N, H, W, 3] in 0..1; each distinct text is embedded once."""
        return self.clip.cosines(images, [self.template.replace("{prompt}", prompt) for prompt in prompts])


def _folder(model: str | None, host: Host) -> Path:
    """Where the model lies. Raises UsageError when it does not."""
    if model is None:
        return EMOJI_CLIP
    if Path(model).is_dir():
        return Path(model)
    if model.count("/") != 1:
        raise UsageError(f'rewards.model: "{model}" is neither a folder nor a hub id such as {CLIP_L.repo}.')
    source = CLIP_L if model == CLIP_L.repo else Source(model, ("config.json", *CLIP_WORDS.files), CLIP_L.gigabytes)
    return folder_of(ClipScore.name, source, host)
