"""Any sampler with any schedule in the shape of a diffusers scheduler, for stock pipelines."""

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

# A timestep that lies nearer to the whole one above than this is that one.
_WHOLE = 1e-3


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


class StepMask(Protocol):
    """Keeps a part of the picture as it is. The sampler's row says which of the two is called at every step."""

    def blend_input(self, x: Tensor, sigma: float) -> Tensor:
        """Return what the network is to see instead of the noisy sample in its variance-preserving form."""
        ...

    def blend_denoised(self, denoised: Tensor, sigma: float) -> Tensor:
        """Return what is taken for the network's prediction of the clean sample, guidance included."""
        ...


class SamplerScheduler:
    """Runs one of our samplers where a pipeline expects its scheduler. Made for one run, then dropped.

    Args:
        sampler: The sampler's row.
        run_start: The noise levels to visit, and how the first sample is made.
        model_sigmas: The model's noise levels, as the options and the sampler leave them.
        noise: What the sampler draws from.
        prediction_type: What the network predicts: "epsilon" or "v_prediction".
        on_step: Called after every evaluation; may raise to stop the run.
        settings: The sampler's options.

    Attributes:
        timesteps: The model's timestep of every evaluation; how many they are is the sampler's choice.
        index: Number of the evaluation that is due, from 0: the step of A1111's prompt editing.
        mask: What keeps a part of the picture; set it before the run.
        uncond_pred: Returns the network's last answer to the negative prompt alone; set it before the run of a sampler
            that needs it.
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
        self.config = FrozenDict(
            steps_offset=1, clip_sample=False
        )  # the two keys pipelines ask for
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
        self._x = torch.empty(0)  # what the sampler holds
        self._model_x = torch.empty(0)  # what the network sees of it: the same unless masked
        self.has_ended = False

    @property
    def init_noise_sigma(self) -> float:
        """Return what the pipeline multiplies the unit noise with."""
        return self._run_start.noise_sigma * self._run_start.scale

    @property
    def sigma(self) -> float:
        """Return the noise level of the evaluation that is due."""
        return self._visited_sigmas[self.index]

    @property
    def total(self) -> int:
        """Return how many evaluations the run needs; of an adaptive sampler it is an estimate until the end."""
        if not self._sampler.is_adaptive:
            return len(self._visited_sigmas)
        if self.has_ended:
            return self.index
        first, last = self._run_start.sigmas[0], self._run_start.sigmas[-1]
        walked = math.log(first / self.sigma) / math.log(first / last)
        return self.index + 1 + math.ceil((1 - walked) * (self.index + 1) / max(walked, 0.05))

    def set_timesteps(self, num_inference_steps: int, device: torch.device | str = "cpu") -> None:
        """Put the model's timestep of every evaluation into `timesteps`."""
        del num_inference_steps
        timesteps = [self._model_sigmas.timestep_at(sigma) for sigma in self._visited_sigmas]
        known = torch.tensor(timesteps, dtype=torch.float32, device=device)
        self.timesteps = AdaptiveTimesteps(self, known) if self._sampler.is_adaptive else known

    def current_timestep(self) -> float:
        """Return the model's timestep of the evaluation that is due."""
        return self._model_sigmas.timestep_at(self.sigma)

    def add_noise(self, original: Tensor, noise: Tensor, timesteps: Tensor) -> Tensor:
        """Return the sample at the first level, from clean latents and our own noise, not the pipeline's."""
        del timesteps, noise
        return (original + self._noise() * self._run_start.noise_sigma) * self._run_start.scale

    def scale_model_input(self, sample: Tensor, timestep: Tensor | None = None) -> Tensor:
        """Return the sample as the network knows it: divided by sqrt(1 + sigma^2)."""
        del timestep
        if self._sampler_steps is None:
            self._sampler_steps = self._sampler.run(
                sample, self._run_start.sigmas, self._noise, self._settings
            )
            self._x, _ = next(self._sampler_steps)
        scale = math.sqrt(1 + self.sigma**2)
        shown = self._x / scale
        self._model_x = self._x
        if self.mask is not None and self._sampler.family.mask_before_denoising:
            shown = self.mask.blend_input(shown, self.sigma)
            self._model_x = shown * scale
        return shown

    def step(
        self, model_output: Tensor, timestep: Tensor, sample: Tensor, return_dict: bool = True
    ) -> SchedulerOutput | tuple[Tensor]:
        """Return the sample that the network evaluates next, or the final one."""
        del timestep, sample
        assert self._sampler_steps is not None, "scale_model_input comes first"
        denoised = self._apply_mask(self._to_denoised(model_output))
        self._on_step(StepState(self.index, self.total, self._x, self.sigma, denoised))
        answer = denoised
        if self._sampler.needs_uncond:
            assert self.uncond_pred is not None, "who runs such a sampler sets it"
            answer = denoised, self._apply_mask(self._to_denoised(self.uncond_pred()))
        self._advance(self._sampler_steps, answer)
        return SchedulerOutput(self._x) if return_dict else (self._x,)

    def _advance(self, walk: SamplerGenerator, answer: Tensor | tuple[Tensor, Tensor]) -> None:
        self.index += 1
        try:
            self._x, sigma = walk.send(answer)
        except StopIteration as end:
            self._x = end.value
            self.has_ended = True
            return
        if self._sampler.is_adaptive:
            self._visited_sigmas.append(sigma)

    def _known_sigmas(self) -> list[float]:
        """Return the level of every evaluation, of an adaptive sampler's first alone."""
        if self._sampler.is_adaptive:
            return [self._run_start.sigmas[0]]
        reply = (0.0, 0.0) if self._sampler.needs_uncond else 0.0
        return visited_sigmas(self._sampler.run, self._run_start.sigmas, self._settings, reply)

    def _to_denoised(self, model_output: Tensor) -> Tensor:
        """Return the clean sample that the network's output means (Salimans and Ho 2022 for v)."""
        sigma = self.sigma
        if self._prediction_type != "v_prediction":
            return self._model_x - model_output * sigma
        turned = sigma  # the level by which v is turned into noise
        if self._sampler.family.floors_timesteps:
            turned = self._model_sigmas.sigma_at(math.floor(self.current_timestep() + _WHOLE))
        to_noise = sigma / math.hypot(1, turned)
        return (
            self._model_x * (1 - to_noise * turned / math.hypot(1, sigma)) - model_output * to_noise
        )

    def _apply_mask(self, denoised: Tensor) -> Tensor:
        if self.mask is None:
            return denoised
        if (
            self._sampler.family.mask_before_denoising
        ):  # the predicted noise is taken off what the sampler holds
            return denoised + (self._x - self._model_x)
        return self.mask.blend_denoised(denoised, self.sigma)


class AdaptiveTimesteps:
    """The timesteps of a run that decides on the way how many it needs, where a pipeline expects a tensor of them.

    Args:
        scheduler: Knows which is due.
        first: The first one, [1], on the device.
    """

    def __init__(self, scheduler: SamplerScheduler, first: Tensor) -> None:
        self._scheduler = scheduler
        self._first = first

    def __len__(self) -> int:
        """Return how many there are, or may be."""
        return self._scheduler.total

    def __getitem__(self, part: slice) -> AdaptiveTimesteps | Tensor:
        """Return all of them, or the first alone: pipelines ask for no other part."""
        return self if part.stop is None else self._first[part]

    def __iter__(self) -> Iterator[Tensor]:
        """Yield the timestep that is due until the run has ended."""
        while not self._scheduler.has_ended:
            yield self._first.new_tensor(self._scheduler.current_timestep())
