"""A tiny real model in memory, with test doubles that record its work."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from modules.backend.components import Components, TextEncoder
from modules.backend.conditioning.text import Conditioning, PromptConditioning
from modules.backend.noise.noise import ImageNoise, NoiseOptions
from modules.params.events import (
    BatchStarted,
    CancelToken,
    Event,
    Note,
    Output,
    Phase,
    Preview,
    Progress,
)
from modules.plan.plan import ImagePlan
from modules.sampling.model_sigmas import ModelSigmas
from tests.backend.checkpoints import tiny_modules


def sd1_alphas() -> Tensor:
    betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
    return torch.cumprod(1 - betas, dim=0)


def sd1_model_sigmas() -> ModelSigmas:
    return ModelSigmas(np.asarray(sd1_alphas()))


def tiny_components(prediction_type: str = "epsilon", seed: int = 0) -> Components:
    unet, vae, text_encoder = (module.requires_grad_(False) for module in tiny_modules(seed))
    return Components(
        unet, vae, (TextEncoder(text_encoder),), sd1_alphas(), prediction_type, "SD 1.x"
    )


def with_trained_norm(text_encoder: Any) -> Any:
    """Return the text encoder with a final norm as after training: an untrained one leaves no mean to restore."""
    bias = text_encoder.final_layer_norm.bias
    bias.data = torch.rand(bias.shape, generator=torch.Generator().manual_seed(1))
    return text_encoder


def random_cond(seed: int, tokens: int = 77) -> Tensor:
    """Return random conditioning of the tiny text encoder's width."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn((1, tokens, 32), generator=generator)


def make_noise(seeds: Sequence[int], shape: tuple[int, int, int] = (4, 8, 8)) -> ImageNoise:
    """Return CPU noise of some seeds."""
    images = [ImagePlan(index, seed, 0) for index, seed in enumerate(seeds)]
    return ImageNoise(images, shape, torch.device("cpu"), NoiseOptions("CPU"))


def prompt_conditioning(cond: Tensor, uncond: Tensor) -> PromptConditioning:
    """Return the conditioning of one prompt and one negative prompt without scheduled changes."""
    return PromptConditioning((Conditioning((cond,)),), Conditioning((uncond,)))


class CountingUNet(nn.Module):
    """A UNet that records batch size and timestep of every call."""

    def __init__(self, unet: nn.Module) -> None:
        super().__init__()
        self.unet = unet
        self.batches: list[int] = []
        self.timesteps: list[float] = []

    @property
    def config(self) -> Any:
        return self.unet.config

    @property
    def dtype(self) -> torch.dtype:
        return torch.float32

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    def forward(self, sample: Tensor, timestep: Any, *args: Any, **named: Any) -> Any:
        self.batches.append(sample.shape[0])
        self.timesteps.append(float(timestep))
        return self.unet(sample, timestep, *args, **named)


class VPredictionUNet(nn.Module):
    """An epsilon network as the equivalent v network: v = (epsilon - sigma x_in) ... / c_in^2.

    With x_in = x / sqrt(1 + sigma^2) and denoised = x - sigma epsilon, Salimans and Ho's
    v = sqrt(alpha) epsilon - sqrt(1 - alpha) denoised.
    """

    def __init__(self, unet: Any, model_sigmas: ModelSigmas) -> None:
        super().__init__()
        self.unet = unet
        self.model_sigmas = model_sigmas
        self.config, self.dtype, self.device = unet.config, unet.dtype, unet.device

    def forward(self, sample: Tensor, timestep: Any, *args: Any, **named: Any) -> tuple[Tensor]:
        sigma = self.model_sigmas.sigma_at(float(timestep))
        scale = (1 + sigma**2) ** 0.5
        epsilon = self.unet(sample, timestep, *args, **named)[0]
        denoised = sample * scale - sigma * epsilon
        return ((epsilon - sigma * denoised) / scale,)


class RecordingListener:
    """A sink that records every event, with a cancel token that interrupts, or skips the first batch, after some steps."""

    def __init__(
        self, stop_after: int | None = None, wants_previews: bool = False, skips: int = 0
    ) -> None:
        self.phases: list[str] = []
        self.progress: list[Progress] = []
        self.images: list[tuple[int, Any]] = []
        self.previews: list[Any] = []
        self.notes: list[str] = []
        self.depth_maps: list[Any] = []
        self.unfinished: list[Any] = []
        self.batches: list[int] = []
        self.recordings: list[Any] = []
        self.cancel = WatchedToken() if wants_previews else CancelToken()
        self._stop_after = stop_after
        self._skips = skips
        self._check_limits()

    def __call__(self, event: Event) -> None:
        match event:
            case Phase(text):
                self.phases.append(text)
            case Progress():
                self.progress.append(event)
            case Preview(image):
                self.previews.append(image)
            case Output("image", data, index):
                self.images.append((index, data))
            case Output("unfinished image", data):
                self.unfinished.append(data)
            case Output("recording", data):
                self.recordings.append(data)
            case Output("depth map", data):
                self.depth_maps.append(data)
            case Note(text):
                self.notes.append(text)
            case BatchStarted(index):
                self.batches.append(index)
                self.cancel.end_skip()
        self._check_limits()

    def _check_limits(self) -> None:
        if self._stop_after is not None and len(self.progress) >= self._stop_after:
            self.cancel.interrupt()
        if self._skips and len(self.progress) == self._skips and len(self.batches) == 1:
            self.cancel.skip_batch()


class WatchedToken(CancelToken):
    """A token that wants a preview of every step."""

    def wants_preview(self, pause_s: float = 0.0) -> bool:
        return True
