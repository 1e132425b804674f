"""The preview finds a linear decoder exactly, and is grey before it has seen anything."""

import torch

from treegrpo.run.latent_preview import LatentPreview


def test_a_linear_decoder_is_found():
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(3, 4, 8, 6, generator=generator)
    factors, offset = 0.05 * torch.randn(4, 3, generator=generator), torch.tensor([0.4, 0.5, 0.6])

    def decode(x):  # four times larger, in flat blocks
        images = x.movedim(1, 3) @ factors + offset
        return images.repeat_interleave(4, 1).repeat_interleave(4, 2)

    preview = LatentPreview()
    preview.learn(latents, decode(latents))
    fresh = torch.randn(2, 4, 8, 6, generator=generator)
    expected = (fresh.movedim(1, 3) @ factors + offset).clamp(0, 1)
    torch.testing.assert_close(preview.draw(fresh), expected, rtol=0, atol=1e-4)  # float32 least squares
    of_frames = LatentPreview()
    of_frames.learn(latents.unsqueeze(2), decode(latents))
    torch.testing.assert_close(of_frames.draw(fresh.unsqueeze(2)), expected, rtol=0, atol=1e-4)  # one frame, a picture


def test_what_is_not_made_of_numbers_is_left_out():
    latents = torch.randn(3, 4, 8, 6, generator=torch.Generator().manual_seed(0))
    images = torch.rand(3, 32, 24, 3, generator=torch.Generator().manual_seed(1))
    alone, broken = LatentPreview(), LatentPreview()
    alone.learn(latents[:1], images[:1])
    latents[1, 0, 0, 0], images[2, 0, 0, 0] = torch.nan, torch.inf
    broken.learn(latents, images)
    # Where tensors lie in memory decides how the last digit is rounded.
    torch.testing.assert_close(broken.draw(latents[:1]), alone.draw(latents[:1]), rtol=0, atol=1e-5)
    before = broken.draw(latents[:1])
    broken.learn(latents[1:], images[1:])
    assert torch.equal(broken.draw(latents[:1]), before), "what was learned stays"


def test_grey_before_it_has_learned():
    assert LatentPreview().draw(torch.randn(2, 4, 8, 6)).equal(torch.full((2, 8, 6, 3), 0.5))


def test_it_learns_from_few_constant_latents():
    """Fewer pixels than channels, all alike: any map that reproduces them will do, and none may be infinite."""
    preview = LatentPreview()
    preview.learn(torch.ones(1, 16, 1, 1), torch.full((1, 8, 8, 3), 0.25))
    drawn = preview.draw(torch.ones(1, 16, 2, 2))
    torch.testing.assert_close(drawn, torch.full((1, 2, 2, 3), 0.25), rtol=0, atol=1e-4)
