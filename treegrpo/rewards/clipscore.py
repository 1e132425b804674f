"""Agreement of picture and words, judged by a CLIP model."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ..bundled import EMOJI_CLIP
from ..errors import UsageError

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
        self.preprocess = _Preprocess(source, self.model.config.vision_config.image_size)

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
        pooled = [
            self.model.vision_model(pixel_values=self.preprocess(part.to(self.model.device))).pooler_output
            for part in images.split(ROWS)
        ]
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


class _Preprocess:
    """Resize the shorter side, crop the centre, normalise: CLIPImageProcessor's steps, batched on the device."""

    def __init__(self, source: str, size: int) -> None:
        from transformers.image_processing_base import ImageProcessingMixin

        settings, _ = ImageProcessingMixin.get_image_processor_dict(source)
        self.size = size
        self.mean = torch.tensor(settings["image_mean"])
        self.std = torch.tensor(settings["image_std"])

    def __call__(self, images: Tensor) -> Tensor:
        """[N, H, W, 3] in 0..1 -> normalised [N, 3, size, size]."""
        pixels = images.movedim(-1, 1)
        height, width = pixels.shape[-2:]
        if (height, width) != (self.size, self.size):
            scale = self.size / min(height, width)
            target = (max(self.size, round(height * scale)), max(self.size, round(width * scale)))
            pixels = torch.nn.functional.interpolate(pixels, target, mode="bicubic", antialias=True).clamp(0, 1)
            top, left = (target[0] - self.size) // 2, (target[1] - self.size) // 2
            pixels = pixels[..., top : top + self.size, left : left + self.size]
        return (pixels - self.mean.to(pixels)[:, None, None]) / self.std.to(pixels)[:, None, None]
