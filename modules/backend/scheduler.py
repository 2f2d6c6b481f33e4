"""Any sampler with any schedule in the shape of a diffusers scheduler, for stock pipelines."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from diffusers.configuration_utils import FrozenDict
from diffusers.schedulers.scheduling_utils import SchedulerOutput
from torch import Tensor

from modules.sampling.noise_levels import NoiseLevels
from modules.sampling.part_way import Start
from modules.sampling.samplers import Sampler
from modules.sampling.walk import Noise, Steps, visited_levels


@dataclass(frozen=True)
class StepState:
    """What is known after one evaluation of the network.

    Args:
        index: Number of the evaluation, from 0.
        total: Evaluations of the whole run.
        x: The sample before the step, [batch, channels, height / 8, width / 8].
        sigma: Its noise level.
        denoised: The predicted clean sample, same shape.
    """

    index: int
    total: int
    x: Tensor
    sigma: float
    denoised: Tensor


class Mask(Protocol):
    """Keeps a part of the picture as it is. The sampler's row says which of the two is called at every step."""

    def before(self, x: Tensor, sigma: float) -> Tensor:
        """Return what the network is to see instead of the noisy sample in its variance-preserving form."""
        ...

    def denoised(self, denoised: Tensor, sigma: float) -> Tensor:
        """Return what is taken for the network's prediction of the clean sample, guidance included."""
        ...


class SamplerScheduler:
    """Runs one of our samplers where a pipeline expects its scheduler. Made for one run, then dropped.

    Args:
        sampler: The sampler's row.
        start: The noise levels to visit, and to which of them a picture is noised that is repainted.
        levels: The model's trained noise levels.
        noise: Draws unit noise for ancestral steps.
        prediction_type: What the network predicts: "epsilon" or "v_prediction".
        on_step: Called after every evaluation; may raise to stop the run.

    Attributes:
        timesteps: The model's timestep of every evaluation; their count is the sampler's.
        index: Number of the evaluation that is due, from 0: the step of A1111's prompt editing.
        mask: What keeps a part of the picture; set it before the run.
    """

    order = 1

    def __init__(
        self,
        sampler: Sampler,
        start: Start,
        levels: NoiseLevels,
        noise: Noise,
        prediction_type: str,
        on_step: Callable[[StepState], None],
    ) -> None:
        self.config = FrozenDict(
            steps_offset=1, clip_sample=False
        )  # the two keys pipelines ask for
        self.timesteps = torch.empty(0)
        self.index = 0
        self.mask: Mask | None = None
        self._sampler = sampler
        self._start = start
        self._visited = visited_levels(sampler.run, start.sigmas)
        self._levels = levels
        self._noise = noise
        self._prediction_type = prediction_type
        self._on_step = on_step
        self._walk: Steps | None = None
        self._x = torch.empty(0)  # what the sampler holds
        self._seen = torch.empty(0)  # what the network sees of it: the same unless masked

    @property
    def init_noise_sigma(self) -> float:
        """Return what the pipeline multiplies the unit noise with."""
        return self._sampler.first_scale(self._start.sigmas[0])

    @property
    def sigma(self) -> float:
        """Return the noise level of the evaluation that is due."""
        return self._visited[self.index]

    def set_timesteps(self, num_inference_steps: int, device: torch.device | str = "cpu") -> None:
        """Put the model's timestep of every evaluation into `timesteps`."""
        del num_inference_steps
        timesteps = [self._levels.timestep_at(sigma) for sigma in self._visited]
        self.timesteps = torch.tensor(timesteps, dtype=torch.float32, device=device)

    def add_noise(self, original: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Return the sample at the first level, from clean latents and our own noise, not the pipeline's."""
        del timesteps, noise
        return (original + self._noise() * self._start.noised_to) * self._start.scale

    def scale_model_input(self, sample: Tensor, timestep: Tensor | None = None) -> Tensor:
        """Return the sample as the network knows it: divided by sqrt(1 + sigma^2)."""
        del timestep
        if self._walk is None:
            self._walk = self._sampler.run(sample, self._start.sigmas, self._noise)
            self._x, _ = next(self._walk)
        scale = math.sqrt(1 + self.sigma**2)
        shown = self._x / scale
        self._seen = self._x
        if self.mask is not None and self._sampler.masks_before:
            shown = self.mask.before(shown, self.sigma)
            self._seen = shown * scale
        return shown

    def step(
        self, model_output: Tensor, timestep: Tensor, sample: Tensor, return_dict: bool = True
    ) -> SchedulerOutput | tuple[Tensor]:
        """Return the sample that the network evaluates next, or the final one."""
        del timestep, sample
        assert self._walk is not None, "scale_model_input comes first"
        x, sigma, denoised = self._x, self.sigma, self._denoised(model_output)
        self._on_step(StepState(self.index, len(self._visited), x, sigma, denoised))
        self.index += 1
        try:
            self._x, _ = self._walk.send(denoised)
        except StopIteration as end:
            self._x = end.value
        return SchedulerOutput(self._x) if return_dict else (self._x,)

    def _denoised(self, model_output: Tensor) -> Tensor:
        """Return the clean sample that the network's output means (Salimans and Ho 2022 for v)."""
        seen, sigma = self._seen, self.sigma
        if self._prediction_type == "v_prediction":
            denoised = seen / (sigma**2 + 1) - model_output * (sigma / math.sqrt(sigma**2 + 1))
        else:
            denoised = seen - model_output * sigma
        if self.mask is None:
            return denoised
        if self._sampler.masks_before:  # the noise is what was predicted: it is taken off the whole
            return denoised + (self._x - seen)
        return self.mask.denoised(denoised, sigma)
