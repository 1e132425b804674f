"""Agreement of picture and words, judged by a CLIP model."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..bundled import EMOJI_CLIP
from ..errors import UsageError
from .preprocess import crop_centre, normalise

ROWS = 32
"""Images per pass: bounds memory, and on a CPU it is twice as fast as hundreds at once, whose activations leave the
cache."""


class ClipScore:
    """Cosine similarity of CLIP's image and text embeddings, -1..1; the plain cosine, neither scaled nor clipped.

    model: a folder or hub id of a transformers CLIPModel; the bundled emoji scorer if none is given.
    template: what the picture is compared with; "{prompt}" stands for its prompt, so "{prompt}, ink style" asks for
    the thing in a style that the prompt itself does not name.
    device: where the model runs. Raises UsageError for a template without "{prompt}" or a folder without a CLIP model.
    """

    name = "clipscore"

    def __init__(self, model: str | None = None, template: str = "{prompt}", device: str = "cpu") -> None:
        from transformers import CLIPModel, CLIPTokenizer
        from transformers.image_processing_base import ImageProcessingMixin

        if "{prompt}" not in template:
            raise UsageError(
                f'rewards.template: "{template}" has no {{prompt}}; write for example "{{prompt}}, ink style".'
            )
        source = str(model or EMOJI_CLIP)
        try:
            self.model = CLIPModel.from_pretrained(source).float().to(device).eval()
            self.tokenizer = CLIPTokenizer.from_pretrained(source)
        except (OSError, ValueError) as error:
            raise UsageError(
                f'rewards.model: "{source}" is not a folder or hub id of a CLIP model ({error}).'
            ) from error
        self.template = template
        settings, _ = ImageProcessingMixin.get_image_processor_dict(source)
        self.mean, self.std = settings["image_mean"], settings["image_std"]

    @torch.inference_mode()
    def score(self, images: Tensor, prompts: Sequence[str]) -> Tensor:
        """Scores float32 [N] for images float32 [N, H, W, 3] in 0..1; each distinct text is embedded once."""
        texts = [self.template.replace("{prompt}", prompt) for prompt in prompts]
        distinct = list(dict.fromkeys(texts))
        words = self.embed_texts(distinct)[[distinct.index(text) for text in texts]]
        return (self.embed_images(images) * words).sum(1).float().cpu()

    @torch.inference_mode()
    def embed_images(self, images: Tensor) -> Tensor:
        """Unit vectors [N, D] of images float32 [N, H, W, 3] in 0..1."""
        size = self.model.config.vision_config.image_size
        pooled = []
        for part in images.split(ROWS):
            pixels = normalise(crop_centre(part.to(self.model.device), size), self.mean, self.std)
            pooled.append(self.model.vision_model(pixel_values=pixels).pooler_output)
        return torch.nn.functional.normalize(self.model.visual_projection(torch.cat(pooled)), dim=1)

    @torch.inference_mode()
    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """Unit vectors [N, D] of texts; words beyond the model's length are cut off."""
        length = self.model.config.text_config.max_position_embeddings
        tokens = self.tokenizer(
            list(texts), padding="max_length", truncation=True, max_length=length, return_tensors="pt"
        ).to(self.model.device)
        pooled = self.model.text_model(input_ids=tokens.input_ids).pooler_output
        return torch.nn.functional.normalize(self.model.text_projection(pooled), dim=1)
