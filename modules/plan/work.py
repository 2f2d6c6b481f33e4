"""Short device work outside the job queue; its result is returned, not saved."""

from __future__ import annotations

from dataclasses import dataclass

from modules.models.model_spec import ModelSpec
from modules.params.image import ImageField


@dataclass(frozen=True)
class EstimateDepth:
    """Estimate the depth of an image. The result is a grey image, white for near.

    Args:
        model: A depth checkpoint with an estimator.
        image: The image.
        size: Width and height of the result.
    """

    model: ModelSpec
    image: ImageField
    size: tuple[int, int]


@dataclass(frozen=True)
class RecordForward:
    """Record the forward diffusion process of an image. The result is a ForwardRecording.

    Args:
        model: Its sigmas and VAE are used.
        image: The image.
        size: Width and height of the frames, multiples of 8.
        frame_count: Number of frames from the image to noise, both included.
        seed: Seed of the noise.
        in_pixel_space: Whether noise is added to the pixels rather than to the latents.
    """

    model: ModelSpec
    image: ImageField
    size: tuple[int, int]
    frame_count: int
    seed: int
    in_pixel_space: bool


Work = EstimateDepth | RecordForward
