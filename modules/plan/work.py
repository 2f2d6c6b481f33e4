"""Work that a device can do: plans of jobs (`plan/plan`), and the kinds listed here.

A kind is a frozen dataclass; one function of `backend/handlers` does it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from PIL import Image

from modules.models.model_spec import ModelSpec
from modules.params.image import ImageField
from modules.params.results import ForwardRecording
from modules.plan.units.preprocessing import ControlImage, Preprocessing

R_co = TypeVar("R_co", covariant=True)


class Work(Generic[R_co]):
    """The base of every kind of work; its parameter is the type of the result."""


@dataclass(frozen=True)
class LoadModel(Work[None]):
    """Load a checkpoint ahead of its first job.

    Args:
        model: The checkpoint, and how it is loaded.
        checkpoints_limit: How many checkpoints may be loaded at once from now on.
    """

    model: ModelSpec
    checkpoints_limit: int = 1


@dataclass(frozen=True)
class UnloadModels(Work[None]):
    """Unload every checkpoint."""


@dataclass(frozen=True)
class EstimateDepth(Work[Image.Image]):
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
class MakeControlImage(Work[ControlImage]):
    """Make the control image of a picture.

    Args:
        preprocessing: How.
        image: The picture.
    """

    preprocessing: Preprocessing
    image: ImageField


@dataclass(frozen=True)
class DescribeImage(Work[str]):
    """Caption an image, for a prompt.

    Args:
        folder: A BLIP captioning model as Hugging Face stores it.
        image: The image.
    """

    folder: Path
    image: ImageField


@dataclass(frozen=True)
class RecordForward(Work[ForwardRecording]):
    """Record the forward diffusion process of an image.

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
