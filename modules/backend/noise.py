"""The noise of each picture, from its own seed, equal on every device."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class ImageNoise:
    """One CPU generator per picture, so that a picture does not depend on its batch.

    Later draws of ancestral samplers continue the same generators, as in A1111 with RNG "CPU".

    Args:
        seeds: One seed per picture.
        shape: Shape of one picture's latents: (channels, height / 8, width / 8).
        device: Where the noise is used.

    Attributes:
        generators: One per picture, for what draws the noise by itself: float32 on the CPU, picture by picture.
    """

    def __init__(
        self, seeds: Sequence[int], shape: tuple[int, int, int], device: torch.device
    ) -> None:
        self.generators = [torch.Generator("cpu").manual_seed(seed) for seed in seeds]
        self._shape = shape
        self._device = device

    def __call__(self) -> Tensor:
        """Return the next unit noise of the batch: float32 [pictures, channels, height / 8, width / 8]."""
        draws = [torch.randn(self._shape, generator=generator) for generator in self.generators]
        return torch.stack(draws).to(self._device)
