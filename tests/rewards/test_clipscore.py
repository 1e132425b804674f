import pytest
import torch
from transformers import CLIPModel, CLIPTokenizer
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from treegrpo.bundled import EMOJI_CLIP, EMOJI_SD3
from treegrpo.errors import UsageError
from treegrpo.rewards.clipscore import ClipScore


@pytest.mark.parametrize("shape", [(64, 64), (96, 64), (128, 200)])
def test_equals_transformers_own_pipeline(shape):
    images = torch.rand(3, *shape, 3, generator=torch.Generator().manual_seed(0))
    images = torch.nn.functional.avg_pool2d(images.movedim(-1, 1), 5, 1, 2).movedim(1, -1)  # pictures are smooth
    texts = ["bear", "frog, ink style", "bell"]
    model = CLIPModel.from_pretrained(EMOJI_CLIP, dtype=torch.float32)
    processor = CLIPImageProcessorPil.from_pretrained(EMOJI_CLIP)
    pixels = processor([(image * 255).round().byte().numpy() for image in images], return_tensors="pt").pixel_values
    words = CLIPTokenizer.from_pretrained(EMOJI_CLIP)(texts, padding="max_length", max_length=12, return_tensors="pt")
    with torch.no_grad():
        output = model(pixel_values=pixels, input_ids=words.input_ids)
    expected = (output.image_embeds * output.text_embeds).sum(1)
    # The reference works on 8-bit pictures and resizes with Pillow: up to a grey level or two per pixel.
    torch.testing.assert_close(ClipScore().score(images, texts), expected, rtol=0, atol=0.01)


def test_template_asks_for_more_than_the_prompt():
    images = torch.rand(2, 64, 64, 3, generator=torch.Generator().manual_seed(0))
    plain = ClipScore().score(images, ["bear, ink style", "frog, ink style"])
    templated = ClipScore(template="{prompt}, ink style").score(images, ["bear", "frog"])
    assert torch.equal(plain, templated)


def test_long_prompts_are_cut_not_refused():
    assert ClipScore().score(torch.rand(1, 64, 64, 3), ["bear " * 100]).isfinite().all()


def test_what_cannot_be_used_is_refused(tmp_path):
    with pytest.raises(UsageError, match="template"):
        ClipScore(template="ink style")
    with pytest.raises(UsageError, match="CLIP model"):
        ClipScore(model=str(tmp_path))
    with pytest.raises(UsageError, match="CLIP model"):
        ClipScore(model=str(EMOJI_SD3))
