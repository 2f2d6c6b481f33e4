"""Any sampler with any schedule in the shape of a diffusers scheduler, for stock pipelines."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from diffusers.configuration_utils import FrozenDict
from diffusers.schedulers.scheduling_utils import SchedulerOutput
from torch import Tensor

from modules.sampling.noise_levels import NoiseLevels
from modules.sampling.part_way import Start
from modules.sampling.samplers import Noise, Sampler, Steps, visited_levels


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


class SamplerScheduler:
    """Runs one of our samplers where a pipeline expects its scheduler. Made for one run, then dropped.

    Args:
        sampler: The sampler's row.
        start: The noise levels to visit, and to which of them a picture is noised that is repainted.
        levels: The model's trained noise levels.
        noise: Draws unit noise for ancestral steps.
        prediction_type: What the network predicts: "epsilon" or "v_prediction".
        on_step: Called after every evaluation; may raise to stop the run.
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
        self._sampler = sampler
        self._start = start
        self._visited = visited_levels(sampler.run, start.sigmas)
        self._levels = levels
        self._noise = noise
        self._prediction_type = prediction_type
        self._on_step = on_step
        self._index = 0
        self._walk: Steps | None = None

    @property
    def init_noise_sigma(self) -> float:
        """Return what the pipeline multiplies the unit noise with."""
        return self._sampler.first_scale(self._start.sigmas[0])

    def set_timesteps(self, num_inference_steps: int, device: torch.device | str = "cpu") -> None:
        """Put the model's timestep of every evaluation into `timesteps`; their count is the sampler's."""
        del num_inference_steps
        timesteps = [self._levels.timestep_at(sigma) for sigma in self._visited]
        self.timesteps = torch.tensor(timesteps, dtype=torch.float32, device=device)

    def add_noise(self, original: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Return the sample at the first level, from clean latents and unit noise of the same shape."""
        del timesteps
        return (original + noise * self._start.noised_to) * self._start.scale

    def scale_model_input(self, sample: Tensor, timestep: Tensor | None = None) -> Tensor:
        """Return the sample as the network knows it: divided by sqrt(1 + sigma^2)."""
        del timestep
        return sample / math.sqrt(1 + self._visited[self._index] ** 2)

    def step(
        self, model_output: Tensor, timestep: Tensor, sample: Tensor, return_dict: bool = True
    ) -> SchedulerOutput | tuple[Tensor]:
        """Return the sample that the network evaluates next, or the final one."""
        del timestep
        sigma = self._visited[self._index]
        denoised = self._denoised(model_output, sample, sigma)
        if self._walk is None:
            self._walk = self._sampler.run(sample, self._start.sigmas, self._noise)
            next(self._walk)
        self._on_step(StepState(self._index, len(self._visited), sample, sigma, denoised))
        self._index += 1
        try:
            following, _ = self._walk.send(denoised)
        except StopIteration as end:
            following = end.value
        return SchedulerOutput(following) if return_dict else (following,)

    def _denoised(self, model_output: Tensor, sample: Tensor, sigma: float) -> Tensor:
        """Return the clean sample that the network's output means (Salimans and Ho 2022 for v)."""
        if self._prediction_type == "v_prediction":
            return sample / (sigma**2 + 1) - model_output * (sigma / math.sqrt(sigma**2 + 1))
        return sample - model_output * sigma
