"""Records the reverse process of a job's first image, from the same step callback as the preview."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from modules.backend import vae
from modules.backend.denoise.guidance import GuidedUNet
from modules.backend.denoise.sampler_scheduler import StepState
from modules.backend.model import LoadedModel
from modules.params.results import RecordedStep, Recording

# Each recorded step costs two decodings and four images; longer runs are recorded at evenly spaced steps.
MAX_STEPS = 60


@dataclass(frozen=True)
class _RecordedState:
    sigma: float
    x: Tensor
    denoised: Tensor
    difference: Tensor | None


class Recorder:
    """Records steps and passes them on. Created only for a job that records the process.

    Args:
        on_step: Called for every step, as without a recorder.
    """

    def __init__(self, on_step: Callable[[StepState], None]) -> None:
        self._on_step = on_step
        self._steps: list[_RecordedState] = []
        self._unet: GuidedUNet | None = None

    def attach(self, unet: GuidedUNet) -> None:
        """Make the UNet wrapper of the run record the difference between cond and uncond."""
        unet.records_difference = True
        self._unet = unet

    def __call__(self, state: StepState) -> None:
        """Record one evaluation; of a batch, the first image."""
        self._on_step(state)
        if state.index not in _recorded_indices(state.total):
            return
        difference = None if self._unet is None else self._unet.difference
        self._steps.append(
            _RecordedState(
                state.sigma,
                state.x[:1].clone(),
                state.denoised[:1].clone(),
                None if difference is None else difference[:1].clone(),
            )
        )

    def finish(self, model: LoadedModel, latents: Tensor) -> Recording:
        """Return the recording.

        Args:
            model: Decodes the recorded latents.
            latents: Final latents of the run, [batch, channels, height / 8, width / 8].
        """
        maxima = [
            float(_cell_rms(step.difference).max())
            for step in self._steps
            if step.difference is not None
        ]
        first = self._steps[0]
        initial_noise = first.x / math.sqrt(1 + first.sigma**2)
        return Recording(
            steps=tuple(
                _render_step(model, index, step, latents[:1], max(maxima, default=1.0))
                for index, step in enumerate(self._steps)
            ),
            initial_noise=initial_noise.flatten().float().cpu().numpy(),
            model_sigmas=model.model_sigmas.sigmas,
        )


def _recorded_indices(total: int) -> set[int]:
    """Return the indices of the evaluations to record, always with the first and the last."""
    return set(np.linspace(0, total - 1, min(total, MAX_STEPS)).round().astype(int).tolist())


def _render_step(
    model: LoadedModel, index: int, step: _RecordedState, final: Tensor, max_difference: float
) -> RecordedStep:
    autoencoder = model.components.vae
    pixels_per_cell = model.components.latent_format.pixels_per_cell
    model_input = step.x / math.sqrt(1 + step.sigma**2)
    predicted_noise = (step.x - step.denoised) / step.sigma
    return RecordedStep(
        index=index,
        sigma=step.sigma,
        timestep=model.model_sigmas.timestep_at(step.sigma),
        x=vae.decode(autoencoder, model_input),
        denoised=vae.decode(autoencoder, step.denoised),
        noise=_enlarge_cells(model.latent_to_rgb(predicted_noise), pixels_per_cell),
        difference=None
        if step.difference is None
        else _enlarge_cells(_heatmap(step.difference, max_difference), pixels_per_cell),
        rms_to_final=float((step.denoised - final).float().square().mean().sqrt()),
    )


def _heatmap(difference: Tensor, maximum: float) -> Image.Image:
    """Return the RMS difference of every cell as greyscale, white for the largest of the run."""
    normalized = _cell_rms(difference) / (maximum or 1.0)
    return Image.fromarray((normalized.clamp(0, 1) * 255).to(torch.uint8).cpu().numpy())


def _cell_rms(difference: Tensor) -> Tensor:
    """Return the root mean square over channels, [height / 8, width / 8]."""
    return difference[0].float().square().mean(dim=0).sqrt()


def _enlarge_cells(image: Image.Image, factor: int) -> Image.Image:
    """Return an image of one pixel per latent cell at full size, its cells as sharp squares."""
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
