"""Latent masks: preserve a part of the init latents while the rest is repainted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from modules.images.inpaint.soft import SoftCompositeSettings, make_composite_mask
from modules.params.requests.img2img import SoftInpaintingFields

_MIN_NORM = 1e-5  # A1111's


@dataclass(frozen=True)
class InpaintMask:
    """A1111's masked latents (sd_samplers_cfg_denoiser): the unmasked part is restored at every step and at the end.

    Args:
        init_latents: [1 or batch, channels, rows, columns], scaled.
        latent_mask: [1, 1, rows, columns], on their device: 1 where latents are repainted, 0 where preserved.
    """

    init_latents: Tensor
    latent_mask: Tensor

    def blend(self, latents: Tensor, noise_level: float) -> Tensor:
        """Return latents with the init latents in the unmasked part: the predicted x0, or the network's input.

        Args:
            latents: [batch, channels, rows, columns].
            noise_level: Of the evaluation: the sigma; for the network's input the timestep, as in A1111.
        """
        del noise_level
        return self.init_latents * (1 - self.latent_mask) + latents * self.latent_mask

    def blend_result(self, latents: Tensor) -> Tensor:
        """Return the final latents with the init latents in the unmasked part."""
        return self.blend(latents, 0.0)

    def composite_mask(self, latents: Tensor, size: tuple[int, int]) -> Image.Image | None:
        """Return the pixel mask that composites a result; None for the request's mask itself."""
        del latents, size
        return None


@dataclass(frozen=True)
class SoftInpaintMask(InpaintMask):
    """A1111's soft inpainting: grey mask values preserve much of the image at high sigmas and less at low ones.

    Args:
        options: The request's soft inpainting fields.
    """

    options: SoftInpaintingFields

    def blend_result(self, latents: Tensor) -> Tensor:
        """Return the final latents unchanged: only compositing the images restores the original."""
        return latents

    def composite_mask(self, latents: Tensor, size: tuple[int, int]) -> Image.Image:
        """Return the pixel mask that composites a result, from the distance of its latents to the init latents.

        Args:
            latents: Of one result, [1, channels, rows, columns]; `init_latents` are its own.
            size: Width and height of the result.
        """
        distance = torch.norm((latents - self.init_latents).float(), dim=1)[0].cpu().numpy()
        composite_settings = SoftCompositeSettings(
            self.options.soft_inpainting_preservation_strength,
            self.options.soft_inpainting_mask_influence,
            self.options.soft_inpainting_difference_threshold,
            self.options.soft_inpainting_difference_contrast,
        )
        return make_composite_mask(
            distance, self.latent_mask[0, 0].float().cpu().numpy(), composite_settings, size
        )

    def blend(self, latents: Tensor, noise_level: float) -> Tensor:
        """Return both mixed, with the contrast that averaging would take away."""
        bias = self.options.soft_inpainting_schedule_bias
        exponent = noise_level**bias * self.options.soft_inpainting_preservation_strength
        weight = self.latent_mask**exponent
        power = self.options.soft_inpainting_transition_contrast_boost
        blended = self.init_latents * (1 - weight) + latents * weight
        init_norm, new_norm, norm = (
            torch.norm(values, dim=1, keepdim=True)
            for values in (self.init_latents, latents, blended)
        )
        # A1111 takes the powers in 64 bits, which not every device has: a norm of 16 to the 32nd is the largest float32.
        largest = torch.maximum(init_norm, new_norm).clamp(min=torch.finfo(norm.dtype).tiny)
        init_power, new_power = (init_norm / largest) ** power, (new_norm / largest) ** power
        target_norm = largest * (init_power * (1 - weight) + new_power * weight) ** (1 / power)
        return blended * (target_norm / (norm + _MIN_NORM))


def make_latent_mask(mask: Image.Image, cells: tuple[int, int], *, binary: bool) -> Tensor:
    """Return a mask in the size of the latents: float32 [1, 1, rows, columns], 0 to 1.

    Args:
        mask: Mode L.
        cells: Rows and columns of the latents.
        binary: Whether values are rounded to 0 or 1, as in A1111.
    """
    # A1111 uses Pillow's default filter for colours, which is bicubic.
    rows, columns = cells
    resized = mask.resize((columns, rows), Image.Resampling.BICUBIC)
    return mask_to_tensor(resized, binary=binary)


def mask_to_tensor(mask: Image.Image, *, binary: bool) -> Tensor:
    """Return a mask of mode L as float32 [1, 1, height, width], 0 to 1, rounded if binary."""
    values = torch.from_numpy(np.array(mask))[None, None].float() / 255
    return values.round() if binary else values


def _fill_latent_noise(latents: Tensor, mask: Tensor, noise: Callable[[], Tensor]) -> Tensor:
    return latents * (1 - mask) + noise() * mask


def _fill_latent_nothing(latents: Tensor, mask: Tensor, noise: Callable[[], Tensor]) -> Tensor:
    del noise
    return latents * (1 - mask)


# Initial latents under the mask, by A1111's numbers; fill and original work on pixels (images/inpaint/masked_content).
LATENT_FILLS: Mapping[int, Callable[[Tensor, Tensor, Callable[[], Tensor]], Tensor]] = {
    2: _fill_latent_noise,
    3: _fill_latent_nothing,
}
