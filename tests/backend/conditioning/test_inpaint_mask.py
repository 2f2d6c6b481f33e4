from __future__ import annotations

from dataclasses import replace

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
    mask = torch.zeros(1, 1, 8, 8)
    mask[..., 4:] = 1
    return mask


INIT, NEW = latents(1), latents(2, 2)


def soft(**fields: float) -> SoftInpaintMask:
    mask = torch.linspace(0, 1, 8).expand(1, 1, 8, 8)
    options = {f"soft_inpainting_{name}": value for name, value in fields.items()}
    return SoftInpaintMask(INIT, mask, Img2ImgRequest(**options))


def test_the_unmasked_part_is_restored_at_every_step():
    blended = InpaintMask(INIT, right_half()).blend(NEW, 3.0)
    assert torch.equal(blended[..., :4], INIT.expand(2, -1, -1, -1)[..., :4])
    assert torch.equal(blended[..., 4:], NEW[..., 4:])


def test_the_unmasked_part_is_restored_at_the_end():
    mask = InpaintMask(INIT, right_half())
    assert torch.equal(mask.blend_result(NEW), mask.blend(NEW, 1.0))
    assert mask.composite_mask(NEW[:1], (64, 64)) is None


def test_a_mask_is_resized_to_the_latents_and_rounded():
    mask = Image.new("L", (64, 64))
    mask.paste(255, (0, 0, 27, 64))
    rounded, exact = (make_latent_mask(mask, (8, 8), binary=binary) for binary in (True, False))
    assert rounded.shape == (1, 1, 8, 8)
    assert rounded[0, 0, 0].tolist() == [1, 1, 1, 0, 0, 0, 0, 0]
    assert 0.2 < float(exact[0, 0, 4, 3]) < 0.5


def test_masked_content_can_be_latent_noise_or_nothing():
    noise = latents(5, 2)
    blended = LATENT_FILLS[2](INIT, right_half(), lambda: noise)
    assert torch.equal(blended[..., 4:], noise[..., 4:])
    assert torch.equal(blended[1, :, :, :4], INIT[0, :, :, :4])
    empty = LATENT_FILLS[3](INIT, right_half(), lambda: noise)
    assert empty[..., 4:].abs().max() == 0
    assert torch.equal(empty[..., :4], INIT[..., :4])


def test_a_soft_mask_preserves_more_at_higher_sigmas():
    distance = [(soft().blend(NEW, sigma)[0] - INIT[0]).abs().mean() for sigma in (10.0, 1.0, 0.1)]
    assert distance[0] < distance[1] < distance[2]
    blended = soft().blend(NEW, 0.001)
    assert torch.allclose(blended[..., 0], INIT.expand(2, -1, -1, -1)[..., 0], atol=1e-5), (
        "black is preserved to the end"
    )


def test_a_higher_preservation_strength_preserves_more():
    weak, strong = (soft(preservation_strength=s).blend(NEW, 2.0) for s in (0.2, 4.0))
    assert (strong - INIT).abs().mean() < (weak - INIT).abs().mean()


def test_a_soft_transition_restores_the_contrast_lost_by_averaging():
    half = torch.full((1, 1, 8, 8), 0.5)
    mask = SoftInpaintMask(INIT, half, Img2ImgRequest(soft_inpainting_preservation_strength=1))
    plain = INIT * 0.5 + NEW * 0.5
    blended = mask.blend(NEW, 1.0)
    norms = [torch.norm(latents, dim=1).mean() for latents in (plain, blended)]
    assert norms[1] > 1.2 * norms[0]
    assert torch.allclose(
        blended / torch.norm(blended, dim=1, keepdim=True),
        plain / torch.norm(plain, dim=1, keepdim=True),
        atol=1e-4,
    )


def test_without_preservation_all_is_new_even_where_the_mask_is_black():
    assert torch.allclose(soft(preservation_strength=0).blend(NEW, 2.0), NEW, atol=1e-4)


@pytest.mark.parametrize("level", [0.1, 14.6, 981.0])
@pytest.mark.parametrize("boost", [1, 4, 32])
@pytest.mark.parametrize("scale", [0.01, 1, 40])
def test_the_contrast_of_a_soft_transition_is_a1111s_in_64_bits(
    level: float, boost: int, scale: float
):
    mask = soft(transition_contrast_boost=boost, schedule_bias=0.3, preservation_strength=0.2)
    mask = replace(mask, init_latents=INIT * scale)
    init, new = (INIT * scale).double(), (NEW * scale).double()
    weight = mask.latent_mask.double() ** (level**0.3 * 0.2)
    blended = init * (1 - weight) + new * weight
    init_norm, new_norm, norm = (
        values.norm(dim=1, keepdim=True) for values in (init, new, blended)
    )
    powers = init_norm**boost * (1 - weight) + new_norm**boost * weight
    expected = blended * powers ** (1 / boost) / (norm + 1e-5)
    assert torch.allclose(
        mask.blend(NEW * scale, level).double(), expected, rtol=2e-5, atol=1e-5 * scale
    )


def test_latents_without_contrast_stay_without():
    mask = replace(soft(), init_latents=torch.zeros_like(INIT))
    assert mask.blend(torch.zeros_like(NEW), 2.0).abs().max() == 0


def test_a_soft_mask_restores_the_original_only_in_the_image_composite():
    mask = soft()
    assert mask.blend_result(NEW) is NEW
    changed = INIT.clone()
    changed[..., 4:] += 5
    composite_mask = np.asarray(mask.composite_mask(changed, (64, 64)))
    assert composite_mask.shape == (64, 64)
    assert composite_mask[:, 48:].min() > 200 > 60 > composite_mask[:, :4].max()
