"""Agreement of picture and words, judged by a CLIP model."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ..bundled import EMOJI_CLIP
from ..errors import UsageError
from .clip import load_folder, load_hub_folder
from .host import Host


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
        self.clip = load_hub_folder(self.name, model, host) if model else load_folder(EMOJI_CLIP, host)

    def score(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """Scores float32 [N] for images float32 [N, H, W, 3] in 0..1; each distinct text is embedded once."""
        return self.clip.cosines(images, [self.template.replace("{prompt}", prompt) for prompt in prompts])
