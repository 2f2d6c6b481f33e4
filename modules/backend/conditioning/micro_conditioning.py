"""The sizes that SDXL's UNet gets with the pooled text: its micro-conditioning (Podell et al. 2023, section 2.2)."""

from __future__ import annotations

import torch
from torch import Tensor

from modules.models.families import MicroConditioning
from modules.params.settings.guidance import GuidanceSettings


def make_time_ids(
    kind: MicroConditioning,
    size: tuple[int, int],
    settings: GuidanceSettings,
    device: torch.device,
    *,
    is_negative: bool = False,
) -> Tensor | None:
    """Return the numbers as diffusers' UNet takes them, float32 [1, 5 or 6]; None for a UNet without them.

    As in A1111 the conditioning describes an uncropped image of its own size, unless the options say otherwise.

    Args:
        kind: What follows original size and crop.
        size: Width and height in pixels of the image that the pass makes.
        settings: The crop, and the aesthetic scores of the refiner.
        device: Of the UNet.
        is_negative: Whether it is for the negative prompt, which has a score of its own.
    """
    width, height = size
    numbers: list[float] = [height, width, settings.sdxl_crop_top, settings.sdxl_crop_left]
    if kind == "target size":
        numbers += [height, width]
    elif kind == "aesthetic score":
        low, high = (
            settings.sdxl_refiner_low_aesthetic_score,
            settings.sdxl_refiner_high_aesthetic_score,
        )
        numbers.append(low if is_negative else high)
    else:
        return None
    return torch.tensor([numbers], dtype=torch.float32, device=device)
