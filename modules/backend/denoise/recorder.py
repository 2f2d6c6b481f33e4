"""Writes down the reverse process of a job's first picture, from the same steps that its preview listens to."""

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

# Each recorded step costs two decodings and four pictures; longer runs are told by steps spread evenly.
MAX_STEPS = 60


@dataclass(frozen=True)
class _Look:
    sigma: float
    x: Tensor
    denoised: Tensor
    difference: Tensor | None


class Recorder:
    """Keeps what a run passes by, on its way to whoever follows the steps. It is made only for a job that asks for it.

    Args:
        on_step: Is told of every step, as without a recorder.
    """

    def __init__(self, on_step: Callable[[StepState], None]) -> None:
        self._on_step = on_step
        self._steps: list[_Look] = []
        self._unet: GuidedUNet | None = None

    def attach(self, unet: GuidedUNet) -> None:
        """Have the network of the coming run keep how its answers to both prompts differ."""
        unet.records_difference = True
        self._unet = unet

    def __call__(self, state: StepState) -> None:
        """Take note of one evaluation; of a batch, the first picture is kept."""
        self._on_step(state)
        if state.index not in _kept(state.total):
            return
        apart = None if self._unet is None else self._unet.difference
        self._steps.append(
            _Look(
                state.sigma,
                state.x[:1].clone(),
                state.denoised[:1].clone(),
                None if apart is None else apart[:1].clone(),
            )
        )

    def finish(self, model: LoadedModel, latents: Tensor) -> Recording:
        """Return the recording.

        Args:
            model: Decodes what was kept.
            latents: What the run ended with, [batch, channels, height / 8, width / 8].
        """
        lengths = [
            float(_length(look.difference).max())
            for look in self._steps
            if look.difference is not None
        ]
        first = self._steps[0]
        unit = first.x / math.sqrt(1 + first.sigma**2)
        return Recording(
            steps=tuple(
                _step(model, number, look, latents[:1], max(lengths, default=1.0))
                for number, look in enumerate(self._steps)
            ),
            initial_noise=unit.flatten().float().cpu().numpy(),
            model_sigmas=model.model_sigmas.sigmas,
        )


def _kept(total: int) -> set[int]:
    """Return which of a run's evaluations are kept, the first and the last among them."""
    return set(np.linspace(0, total - 1, min(total, MAX_STEPS)).round().astype(int).tolist())


def _step(model: LoadedModel, number: int, look: _Look, final: Tensor, most: float) -> RecordedStep:
    autoencoder = model.components.vae
    seen = look.x / math.sqrt(1 + look.sigma**2)
    predicted_noise = (look.x - look.denoised) / look.sigma
    return RecordedStep(
        index=number,
        sigma=look.sigma,
        timestep=model.model_sigmas.timestep_at(look.sigma),
        x=vae.decode(autoencoder, seen),
        denoised=vae.decode(autoencoder, look.denoised),
        noise=enlarged(model.latent_to_rgb(predicted_noise)),
        difference=None if look.difference is None else enlarged(_heat(look.difference, most)),
        rms_to_final=float((look.denoised - final).float().square().mean().sqrt()),
    )


def _heat(difference: Tensor, most: float) -> Image.Image:
    """Return the length of the difference in every cell in grey, white for the largest of the run."""
    length = _length(difference) / (most or 1.0)
    return Image.fromarray((length.clamp(0, 1) * 255).to(torch.uint8).cpu().numpy())


def _length(difference: Tensor) -> Tensor:
    """Return [height / 8, width / 8]."""
    return difference[0].float().square().mean(dim=0).sqrt()


def enlarged(image: Image.Image) -> Image.Image:
    """Return a picture of one pixel per latent cell at the size of the picture, its cells sharp."""
    return image.resize((image.width * 8, image.height * 8), Image.Resampling.NEAREST)
