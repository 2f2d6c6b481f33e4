"""A sampler's run without a pipeline: our scheduler around a network that is a formula or a tiny real one."""

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
from tests.backend.tiny import conditioning, sd1_levels, tiny_components

Network = Callable[
    [Tensor, Tensor], Tensor
]  # the sample in its variance-preserving form, and the timestep

SHAPE = (2, 4, 8, 8)
LEVELS = sd1_levels()


def formula(x: Tensor, t: Tensor) -> Tensor:
    """Return what a network might: smooth in both, bounded, and not the same everywhere."""
    t = t.reshape(-1, 1, 1, 1) / 1000
    return 0.9 * torch.tanh(1.3 * x + 0.4 * t) + 0.2 * torch.sin(3 * x.roll(1, -1) + 5 * t)


@cache
def tiny_network(prediction_type: str = "epsilon") -> Network:
    """Return the tiny real network with one prompt."""
    unet, cond = tiny_components(prediction_type).unet, conditioning(1)
    return lambda x, t: unet(x, t, encoder_hidden_states=cond.expand(x.shape[0], -1, -1))[0]


class Drawn:
    """Noise from one generator, in the order in which it is asked for."""

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


def course_of(
    name: str, schedule: str, steps: int, settings: SamplingSettings = DEFAULTS
) -> RunSigmas:
    return RunSigmas(SAMPLERS.get(name), SCHEDULES.get(schedule), steps, LEVELS, settings)


@torch.inference_mode()
def walked(
    course: RunSigmas,
    network: Network = formula,
    prediction_type: str = "epsilon",
    picture: Tensor | None = None,
    strength: float = 1.0,
    on_step: Callable[[StepState], None] = lambda state: None,
) -> Tensor:
    """Return the final latents; with a picture, of a run that repaints it."""
    noise = Drawn()
    start = course.from_noise() if picture is None else course.from_image(strength)
    assert start is not None
    scheduler = SamplerScheduler(
        course.sampler, start, course.model_sigmas, noise, prediction_type, on_step, course.settings
    )
    if picture is None:
        x = noise() * scheduler.init_noise_sigma
    else:
        x = scheduler.add_noise(picture, picture, torch.empty(0))
    scheduler.uncond_pred = lambda: network(shown, t + 100)
    scheduler.set_timesteps(course.steps)
    for t in scheduler.timesteps:
        shown = scheduler.scale_model_input(x, t)
        x = scheduler.step(network(shown, t), t, x, return_dict=False)[0]
    return x
