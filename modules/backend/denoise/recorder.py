"""Records the reverse process of a job's first image, from the same steps as the preview."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from modules.backend import vae
from modules.backend.components import Components
from modules.backend.denoise.step_extensions import StepExtension, StepState
from modules.backend.previews.latent_to_rgb import LatentToRgb
from modules.params.results import RecordedStep, Recording
from modules.sampling.model_sigmas import ModelSigmas

# Each recorded step costs two decodings and four images; longer runs are recorded at evenly spaced steps.
MAX_STEPS = 60


@dataclass(frozen=True)
class _RecordedState:
    sigma: float
    x: Tensor
    denoised: Tensor
    difference: Tensor | None


class Recorder(StepExtension):
    """Records steps. Created only for a job that records the process.

    Args:
        max_steps: Longer runs are recorded at that many evenly spaced steps.
    """

    needs_difference = True

    def __init__(self, max_steps: int = MAX_STEPS) -> None:
        self._max_steps = max_steps
        self._steps: list[_RecordedState] = []

    def on_step(self, state: StepState) -> None:
        """Record one evaluation; of a batch, the first image."""
        if state.index not in _recorded_indices(state.total, self._max_steps):
            return
        self._steps.append(
            _RecordedState(
                state.sigma,
                state.x[:1].clone(),
                state.denoised[:1].clone(),
                None if state.difference is None else state.difference[:1].clone(),
            )
        )

    def render(
        self,
        components: Components,
        latent_to_rgb: LatentToRgb,
        model_sigmas: ModelSigmas,
        latents: Tensor,
    ) -> Recording:
        """Return the recording.

        Args:
            components: Of the checkpoint; its VAE decodes the recorded latents.
            latent_to_rgb: Shows predicted noise as colours.
            model_sigmas: Of the checkpoint.
            latents: Final latents of the run, [batch, channels, rows, columns].
        """
        renderer = _Renderer(components, latent_to_rgb, model_sigmas)
        maxima = [
            float(_cell_rms(step.difference).max())
            for step in self._steps
            if step.difference is not None
        ]
        first = self._steps[0]
        initial_noise = first.x / math.sqrt(1 + first.sigma**2)
        return Recording(
            steps=tuple(
                renderer.render(index, step, latents[:1], max(maxima, default=1.0))
                for index, step in enumerate(self._steps)
            ),
            initial_noise=initial_noise.flatten().float().cpu().numpy(),
            model_sigmas=np.asarray(model_sigmas.sigmas, np.float64),
        )


def _recorded_indices(total: int, limit: int) -> set[int]:
    """Return the indices of the evaluations to record, always with the first and the last."""
    return set(np.linspace(0, total - 1, min(total, limit)).round().astype(int).tolist())


@dataclass(frozen=True)
class _Renderer:
    components: Components
    latent_to_rgb: LatentToRgb
    model_sigmas: ModelSigmas

    def render(
        self, index: int, step: _RecordedState, final: Tensor, max_difference: float
    ) -> RecordedStep:
        autoencoder = self.components.vae
        pixels_per_cell = self.components.latent_format.pixels_per_cell
        model_input = step.x / math.sqrt(1 + step.sigma**2)
        predicted_noise = (step.x - step.denoised) / step.sigma
        return RecordedStep(
            index=index,
            sigma=step.sigma,
            timestep=self.model_sigmas.timestep_at(step.sigma),
            x=vae.decode(autoencoder, model_input),
            denoised=vae.decode(autoencoder, step.denoised),
            noise=_enlarge_cells(self.latent_to_rgb(predicted_noise), pixels_per_cell),
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
    """Return the root mean square over channels, [rows, columns]."""
    return difference[0].float().square().mean(dim=0).sqrt()


def _enlarge_cells(image: Image.Image, factor: int) -> Image.Image:
    """Return an image of one pixel per latent cell at full size, its cells as sharp squares."""
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
