"""The noise that makes an image again: Euler's method from the image upwards."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from torch import Tensor

from modules.backend.noise.noise import ImageNoise, NoiseOptions, Shape
from modules.plan.plan import ImagePlan

# Returns x0 of a sample at a sigma, in an evaluation of this index.
Denoise = Callable[[Tensor, float, int], Tensor]


def find_noise(
    latents: Tensor, sigmas: Sequence[float], denoise: Denoise, *, adjusts_sigma: bool
) -> Tensor:
    """Return the unit noise from which a run by Euler's method ends at some latents (A1111's img2imgalt).

    The step from sigma a to b > a goes along the slope at the sample of a, taken for one of b, as if it were there already;
    then it has the deviation of 1 by a division. With adjusted sigmas the slope is that of a, the first step changes
    nothing, and the division is by the last sigma.

    Args:
        latents: Of the image, [1, channels, rows, columns], scaled.
        sigmas: Falling, ending at 0.
        denoise: The model; its indices are those of the run in the other direction.
        adjusts_sigma: Which of the two.
    """
    x, rising = latents, sigmas[::-1]
    for position in range(1, len(rising)):
        low, high = rising[position - 1 : position + 1]
        sigma = low if adjusts_sigma else high
        if sigma:
            denoised = denoise(x, sigma, len(rising) - 1 - position)
            x = x + (x - denoised) / sigma * (high - low)
    return x / (rising[-1] if adjusts_sigma else x.std())


def mix_noise(found: Tensor, drawn: Tensor, randomness: float) -> Tensor:
    """Return two unit noises blended into one, 0 for the first alone."""
    blend = (1 - randomness) * found + randomness * drawn
    return blend / math.hypot(1 - randomness, randomness)


class FoundNoise(ImageNoise):
    """The noise of a batch whose first draw has been found.

    Args:
        images: Of the batch.
        latents: Of the init image; they and the found noise add up to the first sample of a whole run.
        found: [1, channels, rows, columns].
        sigma: The first one of a whole run.
        options: How later draws are drawn, and what is mixed into the first one.
        randomness: How much of that, 0 to 1.
    """

    def __init__(
        self,
        images: Sequence[ImagePlan],
        latents: Tensor,
        found: Tensor,
        sigma: float,
        options: NoiseOptions,
        randomness: float = 0.0,
    ) -> None:
        shape: Shape = (latents.shape[1], latents.shape[2], latents.shape[3])
        super().__init__(images, shape, latents.device, options)
        first = found
        if randomness:
            drawn = ImageNoise(images, shape, latents.device, options)()
            first = mix_noise(found, drawn, randomness)
        self._first: Tensor | None = (first - latents / sigma).expand(len(images), -1, -1, -1)

    def __call__(self) -> Tensor:
        """Return the found noise, then what is drawn: A1111 draws nothing before the first step either."""
        first, self._first = self._first, None
        return super().__call__() if first is None else first
