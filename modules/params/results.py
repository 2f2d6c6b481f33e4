"""What a job answers, and how it is told while it runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image


@dataclass(frozen=True)
class GeneratedImage:
    """One finished picture.

    Args:
        index: Its place among all pictures of the job, from 0.
        seed: The seed that makes it again.
        infotext: A1111's description of how it was made.
        path: Where it was saved.
        warning: What went wrong on the way, such as "the disk is full"; empty when nothing did.
    """

    index: int
    seed: int
    infotext: str
    path: Path
    warning: str = ""


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
        rms_to_final: Root mean square of what lies between the prediction and the final latents.
    """

    index: int
    sigma: float
    timestep: float
    x: Image.Image
    denoised: Image.Image
    noise: Image.Image
    difference: Image.Image | None
    rms_to_final: float


@dataclass(frozen=True)
class Recording:
    """The reverse process of one picture.

    Args:
        steps: In order.
        initial_noise: The sample that the run began with in units of its noise level, flat: unit noise in a run from noise alone.
        model_sigmas: The model's trained noise levels, one for each timestep.
    """

    steps: tuple[RecordedStep, ...]
    initial_noise: NDArray[np.float32]
    model_sigmas: NDArray[np.float64]


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
        alpha_cumprod: Share of the picture's variance that is left.
        snr: Ratio of signal to noise.
        image: The sample as a picture.
        expected: What the closed form says of it.
        closed_form: Drawn by the closed form.
        step_by_step: Drawn step by step.
    """

    time: int
    beta: float
    alpha_cumprod: float
    snr: float
    image: Image.Image
    expected: Moments
    closed_form: Moments
    step_by_step: Moments


@dataclass(frozen=True)
class ForwardRecording:
    """The forward process of one picture.

    Args:
        frames: In order of time.
        value_count: How many numbers a sample has.
        pixel_value_count: How many the picture has.
        final_sample: The sample at the end, flat.
        model_sigmas: The model's trained noise levels, one for each timestep.
    """

    frames: tuple[ForwardFrame, ...]
    value_count: int
    pixel_value_count: int
    final_sample: NDArray[np.float32]
    model_sigmas: NDArray[np.float64]
