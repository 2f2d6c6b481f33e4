from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from modules.backend.conditioning.inpaint_mask import (
    LATENT_FILLS,
    InpaintMask,
    SoftInpaintMask,
    make_latent_mask,
)
from modules.params.requests.img2img import Img2ImgRequest


def latents(seed: int, count: int = 1) -> torch.Tensor:
    return torch.randn((count, 4, 8, 8), generator=torch.Generator().manual_seed(seed))


def right_half() -> torch.Tensor:
    share = torch.zeros(1, 1, 8, 8)
    share[..., 4:] = 1
    return share


KEPT, NEW = latents(1), latents(2, 2)


def soft(**fields: float) -> SoftInpaintMask:
    share = torch.linspace(0, 1, 8).expand(1, 1, 8, 8)
    asked = {f"soft_inpainting_{name}": value for name, value in fields.items()}
    return SoftInpaintMask(KEPT, share, Img2ImgRequest(**asked))


@pytest.mark.parametrize("blend", ["before", "denoised"])
def test_the_kept_part_is_the_pictures_at_every_step(blend: str):
    made = getattr(InpaintMask(KEPT, right_half()), blend)(NEW, 3.0)
    assert torch.equal(made[..., :4], KEPT.expand(2, -1, -1, -1)[..., :4])
    assert torch.equal(made[..., 4:], NEW[..., 4:])


def test_the_kept_part_is_put_back_at_the_end():
    mask = InpaintMask(KEPT, right_half())
    assert torch.equal(mask.blend_result(NEW), mask.blend_denoised(NEW, 1.0))
    assert mask.composite_mask(NEW[:1], (64, 64)) is None


def test_a_mask_is_made_as_small_as_the_latents_and_rounded():
    mask = Image.new("L", (64, 64))
    mask.paste(255, (0, 0, 27, 64))
    rounded, exact = (make_latent_mask(mask, 64, 64, binary=one) for one in (True, False))
    assert rounded.shape == (1, 1, 8, 8)
    assert rounded[0, 0, 0].tolist() == [1, 1, 1, 0, 0, 0, 0, 0]
    assert 0.2 < float(exact[0, 0, 4, 3]) < 0.5


def test_what_lies_under_the_mask_can_be_noise_or_nothing():
    noise = latents(5, 2)
    made = LATENT_FILLS[2](KEPT, right_half(), lambda: noise)
    assert torch.equal(made[..., 4:], noise[..., 4:])
    assert torch.equal(made[1, :, :, :4], KEPT[0, :, :, :4])
    empty = LATENT_FILLS[3](KEPT, right_half(), lambda: noise)
    assert empty[..., 4:].abs().max() == 0
    assert torch.equal(empty[..., :4], KEPT[..., :4])


def test_a_soft_mask_keeps_more_the_more_noise_there_is():
    distance = [
        (soft().blend_denoised(NEW, sigma)[0] - KEPT[0]).abs().mean() for sigma in (10.0, 1.0, 0.1)
    ]
    assert distance[0] < distance[1] < distance[2]
    made = soft().blend_denoised(NEW, 0.001)
    assert torch.allclose(made[..., 0], KEPT.expand(2, -1, -1, -1)[..., 0], atol=1e-5), (
        "black is kept to the end"
    )


def test_more_preservation_keeps_more():
    weak, strong = (soft(preservation_strength=one).blend_denoised(NEW, 2.0) for one in (0.2, 4.0))
    assert (strong - KEPT).abs().mean() < (weak - KEPT).abs().mean()


def test_a_soft_transition_keeps_the_contrast_that_averaging_takes():
    share = torch.full((1, 1, 8, 8), 0.5)
    mask = SoftInpaintMask(KEPT, share, Img2ImgRequest(soft_inpainting_preservation_strength=1))
    plain = KEPT * 0.5 + NEW * 0.5
    made = mask.blend_denoised(NEW, 1.0)
    sizes = [torch.norm(one, dim=1).mean() for one in (plain, made)]
    assert sizes[1] > 1.2 * sizes[0]
    assert torch.allclose(
        made / torch.norm(made, dim=1, keepdim=True),
        plain / torch.norm(plain, dim=1, keepdim=True),
        atol=1e-4,
    )


def test_a_soft_mask_leaves_the_end_to_the_composite_of_pictures():
    mask = soft()
    assert mask.blend_result(NEW) is NEW
    changed = KEPT.clone()
    changed[..., 4:] += 5
    share = np.asarray(mask.composite_mask(changed, (64, 64)))
    assert share.shape == (64, 64)
    assert share[:, 48:].min() > 200 > 60 > share[:, :4].max()
