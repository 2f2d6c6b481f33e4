"""What diffusion did, written down to be looked at: the forward process of a picture, the reverse one of a job."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image


@dataclass(frozen=True)
class RecordedStep:
    """One evaluation of the network.

    Args:
        index: Its number, from 0.
        sigma: The noise level at which the network looked.
        timestep: The same as the model's own timestep, 0 to 999.
        x: The sample, scaled to the variance the network sees, as a picture.
        denoised: The clean picture that the network predicted.
        noise: The noise that it predicted, as colours.
        difference: How much prompt and negative prompt disagreed, white for much; None without guidance.
        distance: Root mean square of what lies between the prediction and the final latents.
    """

    index: int
    sigma: float
    timestep: float
    x: Image.Image
    denoised: Image.Image
    noise: Image.Image
    difference: Image.Image | None
    distance: float


@dataclass(frozen=True)
class Recording:
    """The reverse process of one picture.

    Args:
        steps: In order.
        first: The sample that the run began with in units of its noise level, flat: unit noise in a run from noise alone.
        levels: The model's trained noise levels, one for each timestep.
    """

    steps: tuple[RecordedStep, ...]
    first: NDArray[np.float32]
    levels: NDArray[np.float64]


@dataclass(frozen=True)
class Moments:
    """Mean and variance over all numbers of a sample."""

    mean: float
    variance: float


@dataclass(frozen=True)
class ForwardFrame:
    """One moment of the forward process.

    Args:
        time: Steps taken, from 0.
        beta: Variance that the last of them added.
        alpha_bar: Share of the picture's variance that is left.
        snr: Ratio of signal to noise.
        picture: The sample as a picture.
        expected: What the closed form says of it.
        at_once: Drawn by the closed form.
        walked: Drawn step by step.
    """

    time: int
    beta: float
    alpha_bar: float
    snr: float
    picture: Image.Image
    expected: Moments
    at_once: Moments
    walked: Moments


@dataclass(frozen=True)
class ForwardRecording:
    """The forward process of one picture.

    Args:
        frames: In order of time.
        number_count: How many numbers a sample has.
        pixel_number_count: How many the picture has.
        last: The sample at the end, flat.
        levels: The model's trained noise levels, one for each timestep.
    """

    frames: tuple[ForwardFrame, ...]
    number_count: int
    pixel_number_count: int
    last: NDArray[np.float32]
    levels: NDArray[np.float64]
