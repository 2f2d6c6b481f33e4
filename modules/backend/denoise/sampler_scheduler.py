"""Any sampler with any schedule as a diffusers scheduler, for stock pipelines."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from diffusers.configuration_utils import FrozenDict
from diffusers.schedulers.scheduling_utils import SchedulerOutput
from torch import Tensor

from modules.params.settings.sampling import SamplingSettings
from modules.sampling.model_sigmas import ModelSigmas
from modules.sampling.protocol import DEFAULTS, NoiseSampler, SamplerGenerator, visited_sigmas
from modules.sampling.run_start import RunStart
from modules.sampling.samplers import Sampler

# A timestep this close below a whole number counts as that number.
_TIMESTEP_TOLERANCE = 1e-3


@dataclass(frozen=True)
class StepState:
    """The state after one evaluation of the network.

    Args:
        index: Of the evaluation, from 0.
        total: Number of evaluations of the run.
        x: The sample before the step, [batch, channels, height / 8, width / 8].
        sigma: Of the sample.
        denoised: The predicted x0, same shape.
    """

    index: int
    total: int
    x: Tensor
    sigma: float
    denoised: Tensor


class StepMask(Protocol):
    """Preserves a part of the image. The sampler's family decides which of the two is called at every step."""

    def blend_input(self, x: Tensor, sigma: float) -> Tensor:
        """Return the replacement of the noisy sample, in its variance-preserving form, as the network's input."""
        ...

    def blend_denoised(self, denoised: Tensor, sigma: float) -> Tensor:
        """Return the replacement of the predicted x0, guidance included."""
        ...


class SamplerScheduler:
    """Runs one of our samplers as a pipeline's scheduler. An instance is used for one run.

    Args:
        sampler: The sampler's row.
        run_start: The sigmas to visit, and how the first sample is computed.
        model_sigmas: The model's sigmas, modified by settings and sampler.
        noise: Noise source of the sampler.
        prediction_type: "epsilon" or "v_prediction".
        on_step: Called after every evaluation; may raise to stop the run.
        settings: The sampler's settings.

    Attributes:
        timesteps: The model's timestep of every evaluation; the sampler decides how many there are.
        index: Of the current evaluation, from 0: the step of A1111's prompt editing.
        mask: Preserves a part of the image; set it before the run.
        uncond_pred: Returns the network's last uncond prediction; set it before the run of a sampler that needs it.
    """

    order = 1

    def __init__(
        self,
        sampler: Sampler,
        run_start: RunStart,
        model_sigmas: ModelSigmas,
        noise: NoiseSampler,
        prediction_type: str,
        on_step: Callable[[StepState], None],
        settings: SamplingSettings = DEFAULTS,
    ) -> None:
        self.config = FrozenDict(steps_offset=1, clip_sample=False)  # the two keys pipelines read
        self.timesteps: Tensor | AdaptiveTimesteps = torch.empty(0)
        self.index = 0
        self.mask: StepMask | None = None
        self.uncond_pred: Callable[[], Tensor] | None = None
        self._sampler = sampler
        self._run_start = run_start
        self._model_sigmas = model_sigmas
        self._noise = noise
        self._prediction_type = prediction_type
        self._on_step = on_step
        self._settings = settings
        self._visited_sigmas = self._known_sigmas()
        self._sampler_steps: SamplerGenerator | None = None
        self._x = torch.empty(0)  # the sampler's sample
        self._model_x = torch.empty(0)  # the network's unscaled input: the same unless masked
        self.has_ended = False

    @property
    def init_noise_sigma(self) -> float:
        """Return the factor by which the pipeline multiplies the unit noise."""
        return self._run_start.noise_sigma * self._run_start.scale

    @property
    def sigma(self) -> float:
        """Return the sigma of the current evaluation."""
        return self._visited_sigmas[self.index]

    @property
    def total(self) -> int:
        """Return the number of evaluations of the run; for an adaptive sampler an estimate until the end."""
        if not self._sampler.is_adaptive:
            return len(self._visited_sigmas)
        if self.has_ended:
            return self.index
        first, last = self._run_start.sigmas[0], self._run_start.sigmas[-1]
        progress = math.log(first / self.sigma) / math.log(first / last)
        return self.index + 1 + math.ceil((1 - progress) * (self.index + 1) / max(progress, 0.05))

    def set_timesteps(self, num_inference_steps: int, device: torch.device | str = "cpu") -> None:
        """Set `timesteps` to the model's timestep of every evaluation."""
        del num_inference_steps
        timesteps = [self._model_sigmas.timestep_at(sigma) for sigma in self._visited_sigmas]
        known = torch.tensor(timesteps, dtype=torch.float32, device=device)
        self.timesteps = AdaptiveTimesteps(self, known) if self._sampler.is_adaptive else known

    def current_timestep(self) -> float:
        """Return the model's timestep of the current evaluation."""
        return self._model_sigmas.timestep_at(self.sigma)

    def add_noise(self, original: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Return the sample at the first sigma, from clean latents and our own noise, not the pipeline's."""
        del timesteps, noise
        return (original + self._noise() * self._run_start.noise_sigma) * self._run_start.scale

    def scale_model_input(self, sample: Tensor, timestep: Tensor | None = None) -> Tensor:
        """Return the sample as the network's input: divided by sqrt(1 + sigma^2)."""
        del timestep
        if self._sampler_steps is None:
            self._sampler_steps = self._sampler.run(
                sample, self._run_start.sigmas, self._noise, self._settings
            )
            self._x, _ = next(self._sampler_steps)
        scale = math.sqrt(1 + self.sigma**2)
        model_input = self._x / scale
        self._model_x = self._x
        if self.mask is not None and self._sampler.family.mask_before_denoising:
            model_input = self.mask.blend_input(model_input, self.sigma)
            self._model_x = model_input * scale
        return model_input

    def step(
        self, model_output: Tensor, timestep: Tensor, sample: Tensor, return_dict: bool = True
    ) -> SchedulerOutput | tuple[Tensor]:
        """Return the sample of the next evaluation, or the final one."""
        del timestep, sample
        assert self._sampler_steps is not None, "scale_model_input comes first"
        denoised = self._apply_mask(self._to_denoised(model_output))
        self._on_step(StepState(self.index, self.total, self._x, self.sigma, denoised))
        prediction = denoised
        if self._sampler.needs_uncond:
            assert self.uncond_pred is not None, "must be set for such a sampler"
            prediction = denoised, self._apply_mask(self._to_denoised(self.uncond_pred()))
        self._advance(self._sampler_steps, prediction)
        return SchedulerOutput(self._x) if return_dict else (self._x,)

    def _advance(
        self, sampler_steps: SamplerGenerator, prediction: Tensor | tuple[Tensor, Tensor]
    ) -> None:
        self.index += 1
        try:
            self._x, sigma = sampler_steps.send(prediction)
        except StopIteration as end:
            self._x = end.value
            self.has_ended = True
            return
        if self._sampler.is_adaptive:
            self._visited_sigmas.append(sigma)

    def _known_sigmas(self) -> list[float]:
        """Return the sigma of every evaluation; for an adaptive sampler only the first."""
        if self._sampler.is_adaptive:
            return [self._run_start.sigmas[0]]
        denoised = (0.0, 0.0) if self._sampler.needs_uncond else 0.0
        return visited_sigmas(self._sampler.run, self._run_start.sigmas, self._settings, denoised)

    def _to_denoised(self, model_output: Tensor) -> Tensor:
        """Return x0 from the network's output (Salimans and Ho 2022 for v)."""
        sigma = self.sigma
        if self._prediction_type != "v_prediction":
            return self._model_x - model_output * sigma
        v_sigma = sigma  # converts v to noise
        if self._sampler.family.floors_timesteps:
            timestep = math.floor(self.current_timestep() + _TIMESTEP_TOLERANCE)
            v_sigma = self._model_sigmas.sigma_at(timestep)
        to_noise = sigma / math.hypot(1, v_sigma)
        return (
            self._model_x * (1 - to_noise * v_sigma / math.hypot(1, sigma))
            - model_output * to_noise
        )

    def _apply_mask(self, denoised: Tensor) -> Tensor:
        if self.mask is None:
            return denoised
        if self._sampler.family.mask_before_denoising:
            # The predicted noise is subtracted from the sampler's sample, not from the masked input.
            return denoised + (self._x - self._model_x)
        return self.mask.blend_denoised(denoised, self.sigma)


class AdaptiveTimesteps:
    """The timesteps of an adaptive sampler, computed during the run; replaces the tensor that a pipeline expects.

    Args:
        scheduler: Knows the current timestep.
        first: The first timestep, [1], on the device.
    """

    def __init__(self, scheduler: SamplerScheduler, first: Tensor) -> None:
        self._scheduler = scheduler
        self._first = first

    def __len__(self) -> int:
        """Return how many there are, or an estimate."""
        return self._scheduler.total

    def __getitem__(self, part: slice) -> AdaptiveTimesteps | Tensor:
        """Return all of them, or the first alone: pipelines use no other slices."""
        return self if part.stop is None else self._first[part]

    def __iter__(self) -> Iterator[Tensor]:
        """Yield the current timestep until the run has ended."""
        while not self._scheduler.has_ended:
            yield self._first.new_tensor(self._scheduler.current_timestep())
