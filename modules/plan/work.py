"""What the device can be asked beside jobs: quick, and nothing is saved of it."""

from __future__ import annotations

from dataclasses import dataclass

from modules.models.model_spec import ModelSpec
from modules.params.image import ImageField


@dataclass(frozen=True)
class EstimateDepth:
    """How deep is this picture? Answered by a picture in grey, white for near.

    Args:
        model: A depth checkpoint with an estimator.
        image: The picture.
        size: Width and height of the answer.
    """

    model: ModelSpec
    image: ImageField
    size: tuple[int, int]


@dataclass(frozen=True)
class RecordForward:
    """How does this picture become noise? Answered by a ForwardRecording.

    Args:
        model: Its noise levels and VAE are used.
        image: The picture.
        size: Width and height at which it is shown, multiples of 8.
        frame_count: Moments from the picture to noise, both ends counted.
        seed: Of the noise.
        in_pixel_space: Whether noise is added to the pixels rather than to the latents.
    """

    model: ModelSpec
    image: ImageField
    size: tuple[int, int]
    frame_count: int
    seed: int
    in_pixel_space: bool


Work = EstimateDepth | RecordForward
