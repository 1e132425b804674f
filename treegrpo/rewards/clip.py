"""CLIP models, as transformers runs them: unit vectors of pictures and of texts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

import torch
from torch import Tensor
from torch.nn.functional import normalize

from ..errors import UsageError
from .host import Host
from .open_clip_keys import to_transformers
from .preprocess import OPENAI_MEAN, OPENAI_STD, crop_centre, normalise
from .weights import CLIP_L, CLIP_WORDS, Source, check_keys, folder_of, read_checkpoint

if TYPE_CHECKING:
    from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

ROWS = 32
"""Images per pass: bounds memory, and on a CPU it is twice as fast as hundreds at once, whose activations leave the
cache."""


Fit = Callable[[Tensor, int], Tensor]
"""Makes pictures [N, H, W, 3] in 0..1 squares of a size, [N, 3, size, size]; see preprocess."""


class Clip:
    """A CLIP model with its tokenizer. mean, std: of the pixels that it was trained on."""

    def __init__(
        self,
        network: CLIPModel,
        tokenizer: CLIPTokenizer,
        host: Host,
        mean: Sequence[float] = OPENAI_MEAN,
        std: Sequence[float] = OPENAI_STD,
    ) -> None:
        self.network = network.to(host.dtype).eval().requires_grad_(False)
        self.tokenizer, self.host, self.mean, self.std = tokenizer, host, mean, std

    @torch.no_grad()
    def embed_images(self, images: Tensor, fit: Fit = crop_centre) -> Tensor:
        """Unit vectors float32 [N, D] of images float32 [N, H, W, 3] in 0..1. fit: one of preprocess, makes squares."""
        with self.host.placed(self.network) as device:
            return self._images(images, fit, device)

    @torch.no_grad()
    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """Unit vectors float32 [N, D] of texts, each distinct one embedded once; what is too long is cut off."""
        with self.host.placed(self.network) as device:
            return self._texts(texts, device)

    @torch.no_grad()
    def cosines(self, images: Tensor, texts: Sequence[str], fit: Fit = crop_centre) -> Tensor:
        """Cosine similarity of every image with its text, float32 [N] on the CPU."""
        with self.host.placed(self.network) as device:
            return (self._images(images, fit, device) * self._texts(texts, device)).sum(1).cpu()

    def _images(self, images: Tensor, fit: Fit, device: torch.device) -> Tensor:
        size = self.network.config.vision_config.image_size
        vectors = []
        for part in images.split(ROWS):
            pixels = normalise(fit(part.to(device), size), self.mean, self.std).to(self.network.dtype)
            pooled = self.network.vision_model(pixel_values=pixels).pooler_output
            vectors.append(normalize(self.network.visual_projection(pooled).float(), dim=1))
        return torch.cat(vectors)

    def _texts(self, texts: Sequence[str], device: torch.device) -> Tensor:
        distinct = list(dict.fromkeys(texts))
        length = self.network.config.text_config.max_position_embeddings
        tokens = self.tokenizer(
            distinct, padding="max_length", truncation=True, max_length=length, return_tensors="pt"
        ).input_ids
        pooled = [self.network.text_model(input_ids=part.to(device)).pooler_output for part in tokens.split(ROWS)]
        vectors = normalize(self.network.text_projection(torch.cat(pooled)).float(), dim=1)
        return vectors[[distinct.index(text) for text in texts]]


_LOADED: WeakValueDictionary[tuple[Path, Host], Clip] = WeakValueDictionary()
"""Models in use; rewards on the same one share it."""


def load_folder(folder: Path, host: Host, words: Path | None = None) -> Clip:
    """The CLIP model in a folder that transformers has written. words: where the tokenizer lies, if not there too.

    Raises UsageError when there is none.
    """
    if shared := _LOADED.get((folder, host)):
        return shared
    from transformers import CLIPModel, CLIPTokenizer
    from transformers.image_processing_base import ImageProcessingMixin

    try:
        network, facts = CLIPModel.from_pretrained(folder, local_files_only=True, output_loading_info=True)
        tokenizer = CLIPTokenizer.from_pretrained(words or folder, local_files_only=True)
    except (OSError, ValueError, RuntimeError) as error:
        raise UsageError(f'rewards: "{folder}" is not a folder of a CLIP model ({error}).') from error
    if missing := sorted(facts["missing_keys"]):
        raise UsageError(f'rewards: "{folder}" is not a folder of a CLIP model: it has no "{missing[0]}".')
    settings: dict[str, Any] = {}
    if (folder / "preprocessor_config.json").is_file():
        settings, _ = ImageProcessingMixin.get_image_processor_dict(folder)
    clip = Clip(
        network, tokenizer, host, settings.get("image_mean", OPENAI_MEAN), settings.get("image_std", OPENAI_STD)
    )
    return _LOADED.setdefault((folder, host), clip)


def load_hub_folder(reward: str, model: str, host: Host) -> Clip:
    """The CLIP model in a folder, or of a hub id that has been downloaded. Raises UsageError when there is none."""
    if Path(model).is_dir():
        return load_folder(Path(model), host)
    if model.count("/") != 1:
        raise UsageError(f'rewards.model: "{model}" is neither a folder nor a hub id such as {CLIP_L.repo}.')
    source = CLIP_L if model == CLIP_L.repo else Source(model, ("config.json", *CLIP_WORDS.files), CLIP_L.gigabytes)
    return load_folder(folder_of(reward, source, host), host)


def load_open_clip(file: Path, config: CLIPConfig, what: str, host: Host, words: Path) -> Clip:
    """The CLIP model in a checkpoint of open_clip. what: the name of the architecture, for errors.

    Raises UsageError when the file is broken or holds another architecture than `config`.
    """
    if shared := _LOADED.get((file, host)):
        return shared
    from transformers import CLIPModel, CLIPTokenizer

    state = to_transformers(read_checkpoint(file))
    with torch.device("meta"):
        expected = CLIPModel(config).state_dict()
    check_keys(file, state, expected, what)
    network = CLIPModel.from_pretrained(None, config=config, state_dict=state)
    tokenizer = CLIPTokenizer.from_pretrained(words, local_files_only=True)
    return _LOADED.setdefault((file, host), Clip(network, tokenizer, host))
