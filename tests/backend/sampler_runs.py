"""Runs a sampler without a pipeline: our scheduler with a formula or a tiny real UNet as the network."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import torch
from torch import Tensor

from modules.backend.denoise.sampler_scheduler import SamplerScheduler, StepState
from modules.params.settings.sampling import SamplingSettings
from modules.sampling.protocol import DEFAULTS
from modules.sampling.run_sigmas import RunSigmas
from modules.sampling.samplers import SAMPLERS
from modules.sampling.schedules import SCHEDULES
from tests.backend.tiny import random_cond, sd1_model_sigmas, tiny_components

# Takes the sample in its variance-preserving form, and the timestep.
Network = Callable[[Tensor, Tensor], Tensor]

SHAPE = (2, 4, 8, 8)
MODEL_SIGMAS = sd1_model_sigmas()


def formula_network(x: Tensor, t: Tensor) -> Tensor:
    """Return a network-like output: smooth in both arguments, bounded, and not uniform."""
    t = t.reshape(-1, 1, 1, 1) / 1000
    return 0.9 * torch.tanh(1.3 * x + 0.4 * t) + 0.2 * torch.sin(3 * x.roll(1, -1) + 5 * t)


@cache
def tiny_network(prediction_type: str = "epsilon") -> Network:
    """Return the tiny real network with one prompt."""
    unet, cond = tiny_components(prediction_type).unet, random_cond(1)
    return lambda x, t: unet(x, t, encoder_hidden_states=cond.expand(x.shape[0], -1, -1))[0]


class SeededNoise:
    """Noise from one generator, in call order."""

    def __init__(self, seed: int = 5) -> None:
        self._generator = torch.Generator().manual_seed(seed)
        self.steps: list[tuple[float, float]] = []
        self.count = 0

    def __call__(self) -> Tensor:
        self.count += 1
        return torch.randn(SHAPE, generator=self._generator)

    def between(self, sigma: float, sigma_next: float) -> Tensor:
        self.steps.append((float(sigma), float(sigma_next)))
        return self()


def make_run(
    name: str, schedule: str, steps: int, settings: SamplingSettings = DEFAULTS
) -> RunSigmas:
    return RunSigmas(SAMPLERS.get(name), SCHEDULES.get(schedule), steps, MODEL_SIGMAS, settings)


@torch.inference_mode()
def run_sampler(
    run_sigmas: RunSigmas,
    network: Network = formula_network,
    prediction_type: str = "epsilon",
    init_latents: Tensor | None = None,
    strength: float = 1.0,
    on_step: Callable[[StepState], None] = lambda state: None,
) -> Tensor:
    """Return the final latents; with init latents, of an img2img run."""
    noise = SeededNoise()
    start = run_sigmas.from_noise() if init_latents is None else run_sigmas.from_image(strength)
    assert start is not None
    scheduler = SamplerScheduler(
        run_sigmas.sampler,
        start,
        run_sigmas.model_sigmas,
        noise,
        prediction_type,
        on_step,
        run_sigmas.settings,
    )
    if init_latents is None:
        x = noise() * scheduler.init_noise_sigma
    else:
        x = scheduler.add_noise(init_latents, init_latents, torch.empty(0))
    scheduler.uncond_pred = lambda: network(model_input, t + 100)
    scheduler.set_timesteps(run_sigmas.steps)
    for t in scheduler.timesteps:
        model_input = scheduler.scale_model_input(x, t)
        x = scheduler.step(network(model_input, t), t, x, return_dict=False)[0]
    return x
