"""Masks in the latents: what is kept of a picture while the rest is repainted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from modules.images.inpaint.soft import SoftCompositeSettings, make_composite_mask
from modules.params.requests.img2img import SoftInpaintingFields


@dataclass(frozen=True)
class InpaintMask:
    """A1111's masked latents (sd_samplers_cfg_denoiser): the kept part is put back at every step and once at the end.

    Args:
        init_latents: The picture's latents, [1 or pictures, channels, height / 8, width / 8], scaled.
        latent_mask: [1, 1, height / 8, width / 8], on their device: 1 where it is repainted, 0 where it is kept.
    """

    init_latents: Tensor
    latent_mask: Tensor

    def blend_input(self, x: Tensor, sigma: float) -> Tensor:
        """Return the noisy sample with the kept part free of noise, as A1111's DDIM family shows it."""
        return self._blend(x, sigma)

    def blend_denoised(self, denoised: Tensor, sigma: float) -> Tensor:
        """Return the prediction with the picture in its kept part."""
        return self._blend(denoised, sigma)

    def blend_result(self, latents: Tensor) -> Tensor:
        """Return the final latents with the picture in their kept part."""
        return self._blend(latents, 0.0)

    def composite_mask(self, latents: Tensor, size: tuple[int, int]) -> Image.Image | None:
        """Return how much of each pixel of a result is new; None when the mask alone says it."""
        del latents, size
        return None

    def _blend(self, new: Tensor, sigma: float) -> Tensor:
        del sigma
        return self.init_latents * (1 - self.latent_mask) + new * self.latent_mask


@dataclass(frozen=True)
class SoftInpaintMask(InpaintMask):
    """A1111's soft inpainting: greys of the mask keep much while there is much noise, and less and less of it.

    Args:
        options: Its fields.
    """

    options: SoftInpaintingFields

    def blend_result(self, latents: Tensor) -> Tensor:
        """Return the final latents: the composite of the pictures alone brings the original back."""
        return latents

    def composite_mask(self, latents: Tensor, size: tuple[int, int]) -> Image.Image:
        """Return how much of each pixel of a result is new, by how far its latents are from the picture's.

        Args:
            latents: Of one result, [1, channels, height / 8, width / 8].
            size: Width and height of the answer.
        """
        change = torch.norm((latents - self.init_latents).float(), dim=1)[0].cpu().numpy()
        asked = SoftCompositeSettings(
            self.options.soft_inpainting_mask_influence,
            self.options.soft_inpainting_difference_threshold,
            self.options.soft_inpainting_difference_contrast,
        )
        return make_composite_mask(
            change, self.latent_mask[0, 0].float().cpu().numpy(), asked, size
        )

    def _blend(self, new: Tensor, sigma: float) -> Tensor:
        """Return both mixed, with the contrast that averaging would take away."""
        bias = self.options.soft_inpainting_schedule_bias
        exponent = sigma**bias * self.options.soft_inpainting_preservation_strength
        share = torch.where(self.latent_mask > 0, self.latent_mask**exponent, 0.0)
        power = self.options.soft_inpainting_transition_contrast_boost
        mixed = self.init_latents * (1 - share) + new * share
        old_size, new_size, size = (
            torch.norm(one, dim=1, keepdim=True) for one in (self.init_latents, new, mixed)
        )
        wanted = (old_size**power * (1 - share) + new_size**power * share) ** (1 / power)
        return mixed * (wanted / size.clamp(min=1e-6))


def make_latent_mask(mask: Image.Image, width: int, height: int, *, binary: bool) -> Tensor:
    """Return a mask in the size of the latents: float32 [1, 1, height / 8, width / 8], 0 to 1.

    Args:
        mask: L.
        width: Of the picture.
        height: Likewise.
        binary: Whether a cell is repainted wholly or not at all, as in A1111.
    """
    # A1111 takes Pillow's default filter for colours, which is bicubic.
    small = mask.resize((width // 8, height // 8), Image.Resampling.BICUBIC)
    share = torch.from_numpy(np.array(small))[None, None].float() / 255
    return share.round() if binary else share


def _noise(latents: Tensor, share: Tensor, noise: Callable[[], Tensor]) -> Tensor:
    return latents * (1 - share) + noise() * share


def _nothing(latents: Tensor, share: Tensor, noise: Callable[[], Tensor]) -> Tensor:
    del noise
    return latents * (1 - share)


# What lies under the mask at first, by A1111's numbers; fill and original are made of pixels (images/repaint).
LATENT_FILLS: Mapping[int, Callable[[Tensor, Tensor, Callable[[], Tensor]], Tensor]] = {
    2: _noise,
    3: _nothing,
}
