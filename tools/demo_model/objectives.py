"""What a UNet learns to predict, under LDM's words for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from tools.demo_model.diffusion import DiffusionProcess, NoisySample

# An error in the noise is an error in the clean latent that is up to 14.6 times as large, at the
# noisiest timestep; the loss makes up for it so far.
LARGEST_SCALE = 10.0


@dataclass(frozen=True)
class Objective:
    """A parameterization.

    Attributes:
        target: From the process and a noisy sample to what the UNet should answer.
        scale: From the process and timesteps to a factor of the error, [batch, 1, 1, 1].
        denoised: From the process, noisy latents, timesteps and the answer to clean latents.
    """

    target: Callable[[DiffusionProcess, NoisySample], torch.Tensor]
    scale: Callable[[DiffusionProcess, torch.Tensor], torch.Tensor]
    denoised: Callable[[DiffusionProcess, torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


def _no_scale(process: DiffusionProcess, t: torch.Tensor) -> torch.Tensor:
    return torch.ones_like(process.alphas_cumprod[t]).view(-1, 1, 1, 1)


def _noise_scale(process: DiffusionProcess, t: torch.Tensor) -> torch.Tensor:
    """Return 1 / sqrt(alphas_cumprod): so scaled, the noise's error is that of the velocity."""
    return process.alphas_cumprod[t].rsqrt().clamp(max=LARGEST_SCALE).view(-1, 1, 1, 1)


OBJECTIVES = {  # by what the .yaml calls it
    "v": Objective(
        target=lambda process, sample: process.velocity(sample.x0, sample.t, sample.noise),
        scale=_no_scale,
        denoised=lambda process, x, t, velocity: process.denoised(x, t, velocity),
    ),
    "eps": Objective(
        target=lambda process, sample: process.noise_between(sample.x0, sample.x, sample.t),
        scale=_noise_scale,
        denoised=lambda process, x, t, noise: process.denoised_by_noise(x, t, noise),
    ),
}
