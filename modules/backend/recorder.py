"""Writes down the reverse process of a job's first picture, from the same steps that its preview listens to."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from modules.backend import vae
from modules.backend.cache import LoadedModel
from modules.backend.scheduler import StepState
from modules.params.recording import RecordedStep, Recording

# Each recorded step costs two decodings and four pictures; longer runs are told by steps spread evenly.
MOST_STEPS = 60


@dataclass(frozen=True)
class _Look:
    index: int
    sigma: float
    x: Tensor
    denoised: Tensor
    difference: Tensor | None


class Recorder:
    """Keeps what a run passes by. Nothing of it exists unless a job asks to be recorded.

    Args:
        total: Evaluations that the run will make.
    """

    def __init__(self, total: int) -> None:
        kept = np.linspace(0, total - 1, min(total, MOST_STEPS)).round().astype(int)
        self._kept = set(kept.tolist())
        self._looks: list[_Look] = []

    def __call__(self, state: StepState, difference: Tensor | None) -> None:
        """Take note of one evaluation.

        Args:
            state: Of the whole batch; the first picture is kept.
            difference: Between the answers to prompt and negative prompt, of the sample's shape; None without guidance.
        """
        if state.index in self._kept:
            apart = None if difference is None else difference[:1].clone()
            self._looks.append(
                _Look(
                    state.index, state.sigma, state.x[:1].clone(), state.denoised[:1].clone(), apart
                )
            )

    def finish(self, model: LoadedModel, latents: Tensor) -> Recording:
        """Return the recording.

        Args:
            model: Decodes what was kept.
            latents: What the run ended with, [batch, channels, height / 8, width / 8].
        """
        final = latents[:1]
        most = max(
            (
                float(look.difference.abs().max())
                for look in self._looks
                if look.difference is not None
            ),
            default=1.0,
        )
        first = self._looks[0]
        unit = first.x / math.sqrt(1 + first.sigma**2)
        return Recording(
            steps=tuple(_step(model, look, final, most) for look in self._looks),
            first=unit.flatten().float().cpu().numpy(),
            levels=model.levels.sigmas,
        )


def _step(model: LoadedModel, look: _Look, final: Tensor, most: float) -> RecordedStep:
    autoencoder = model.components.vae
    seen = look.x / math.sqrt(1 + look.sigma**2)
    predicted_noise = (look.x - look.denoised) / look.sigma
    return RecordedStep(
        index=look.index,
        sigma=look.sigma,
        timestep=model.levels.timestep_at(look.sigma),
        x=vae.decode(autoencoder, seen),
        denoised=vae.decode(autoencoder, look.denoised),
        noise=enlarged(model.preview(predicted_noise)),
        difference=None if look.difference is None else enlarged(_heat(look.difference, most)),
        distance=float((look.denoised - final).float().square().mean().sqrt()),
    )


def _heat(difference: Tensor, most: float) -> Image.Image:
    """Return the length of the difference in every cell in grey, white for the largest of the run."""
    length = difference[0].float().square().mean(dim=0).sqrt() / (most or 1.0)
    return Image.fromarray((length.clamp(0, 1) * 255).to(torch.uint8).cpu().numpy())


def enlarged(image: Image.Image) -> Image.Image:
    """Return a picture of one pixel per latent cell at the size of the picture, its cells sharp."""
    return image.resize((image.width * 8, image.height * 8), Image.Resampling.NEAREST)
