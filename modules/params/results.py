"""What jobs and device work return: finished images, and recordings of the diffusion process."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

# A grid shows other images of its job.
ImageKind = Literal["image", "grid"]


@dataclass(frozen=True)
class GeneratedImage:
    """One finished image.

    Args:
        index: Index among all images of the job, from 0.
        seed: Its seed.
        infotext: Generation parameters in A1111's format.
        path: Where it was saved.
        warning: What went wrong while saving, such as "the disk is full"; empty when nothing did.
        size: Width and height in pixels; 0x0 if they are not known.
        kind: What it is.
    """

    index: int
    seed: int
    infotext: str
    path: Path
    warning: str = ""
    size: tuple[int, int] = (0, 0)
    kind: ImageKind = "image"


@dataclass(frozen=True)
class RecordedStep:
    """One evaluation of the network.

    Args:
        index: Number of the evaluation, from 0.
        sigma: Noise level of the sample.
        timestep: The same as the model's timestep, 0 to 999.
        x: The sample, scaled to the variance of the network's input, as an image.
        denoised: The predicted clean sample (x0) as an image.
        noise: The predicted noise as colours.
        difference: Difference of cond and uncond, white for large; None without guidance.
        rms_to_final: Root mean square of the difference between x0 and the final latents.
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
    """The reverse process of one image.

    Args:
        steps: Evaluations in order.
        initial_noise: The initial sample divided by its sigma, flat; unit noise in a run without init image.
        model_sigmas: Sigmas of the model, one for each timestep.
        hires: The hires pass; None for a run of one pass.
    """

    steps: tuple[RecordedStep, ...]
    initial_noise: NDArray[np.float32]
    model_sigmas: NDArray[np.float64]
    hires: Recording | None = None


@dataclass(frozen=True)
class Moments:
    """Mean and variance over all values of a sample."""

    mean: float
    variance: float


@dataclass(frozen=True)
class ForwardFrame:
    """One frame of the forward process.

    Args:
        time: Steps taken, from 0.
        beta: Variance added by the last step.
        alpha_cumprod: Share of the image's variance that is left.
        snr: Signal-to-noise ratio.
        image: The sample as an image.
        expected: Moments by the formula.
        closed_form: Moments of a sample drawn in one step, by the closed form.
        step_by_step: Moments of a sample drawn step by step.
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
    """The forward process of one image.

    Args:
        frames: In order of time.
        value_count: Number of values in a sample.
        pixel_value_count: Number of values in the image.
        final_sample: The last sample, flat.
        model_sigmas: Sigmas of the model, one for each timestep.
    """

    frames: tuple[ForwardFrame, ...]
    value_count: int
    pixel_value_count: int
    final_sample: NDArray[np.float32]
    model_sigmas: NDArray[np.float64]
