"""The denoising loop of one batch as a value: it holds no network, so that one model can begin it and another go on."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

from torch import Tensor

from modules.backend.denoise.denoiser import Denoised, image_steps
from modules.backend.denoise.step_extensions import StepState
from modules.backend.noise.noise import ImageNoise
from modules.backend.torch_float32 import TORCH_FLOAT32
from modules.params.settings import Settings
from modules.plan.plan import Plan
from modules.sampling.model_sigmas import ModelSigmas
from modules.sampling.protocol import DryRun, SamplerGenerator, run_dry
from modules.sampling.run_sigmas import RunSigmas
from modules.sampling.run_start import RunStart
from modules.sampling.samplers import Sampler


class SamplingRun:
    """A sampler at work on one batch: it waits at a sample for the predicted x0.

    Args:
        plan: Sampler, schedule, steps and options.
        run_sigmas: Of the model that begins it; another one that goes on with it changes no sigma.
        noise: One generator per image, not drawn from yet.
        init_latents: Of the init image, [1 or batch, channels, rows, columns], scaled; None starts from noise alone.

    Attributes:
        x: The sample, [batch, channels, rows, columns]; at the end the final latents.
        sigma: Of the sample.
        index: Of the next evaluation, from 0.
        sigmas: Of all evaluations, as far as they are known; none for an adaptive sampler, which decides as it goes.
        is_finished: Whether no evaluation is left.
    """

    def __init__(
        self,
        plan: Plan,
        run_sigmas: RunSigmas,
        noise: ImageNoise,
        init_latents: Tensor | None = None,
    ) -> None:
        self.plan = plan
        self.run_sigmas = run_sigmas
        self.index = 0
        self.sigma = 0.0
        self.sigmas: Sequence[float] = ()
        self.is_finished = False
        start = _start(plan, run_sigmas, has_init_image=init_latents is not None)
        noise.sigmas = run_sigmas.all_sigmas(*image_steps(plan))
        if init_latents is not None:
            init_latents = init_latents.float().expand(len(noise.images), -1, -1, -1)
        if start is None:  # a hires pass of strength 0
            assert init_latents is not None, "only a run from an init image can be empty"
            self.x, self.is_finished = init_latents, True
            return
        if init_latents is None:
            x = noise() * (start.noise_sigma * start.scale)
        else:
            x = (init_latents + noise() * start.noise_sigma) * start.scale
        self._start = start
        dry_run = _run_dry(plan.sampler, start, plan.settings)
        self.sigmas = dry_run.sigmas
        noise.draw_ahead(dry_run.intervals, dry_run.draws)
        self._steps: SamplerGenerator = plan.sampler.run(x, start.sigmas, noise, plan.settings)
        self.x, self.sigma = next(self._steps)

    @property
    def share_of_steps(self) -> float:
        """Return the share of the planned evaluations that are done, 0 to 1."""
        steps = self.run_sigmas.planned_steps(*image_steps(self.plan))
        return self.index / (steps * self.plan.sampler.evaluations_per_step)

    def state(self, denoised: Denoised) -> StepState:
        """Return the state after an evaluation."""
        total = len(self.sigmas)
        if self.plan.sampler.is_adaptive:
            total = _estimate_total(self._start, self.index, self.sigma)
        return StepState(self.index, total, self.x, self.sigma, denoised.x0, denoised.difference)

    def advance(self, denoised: Denoised) -> None:
        """Go on to the next sample, with what was predicted for this one."""
        self.index += 1
        needs_uncond = self.plan.sampler.needs_uncond
        try:
            self.x, self.sigma = self._steps.send(
                (denoised.x0, denoised.uncond_x0) if needs_uncond else denoised.x0
            )
        except StopIteration as end:
            self.x, self.is_finished = end.value, True


# Says before an evaluation whether the model that runs hands the rest of the run to another one.
HandOver = Callable[[SamplingRun], bool]


def make_run_sigmas(plan: Plan, model_sigmas: ModelSigmas) -> RunSigmas:
    """Return the sigmas of a plan's run."""
    return RunSigmas(
        plan.sampler,
        plan.schedule,
        plan.request.steps,
        model_sigmas,
        plan.settings,
        TORCH_FLOAT32,
    )


def add_extra_noise(start: RunStart, settings: Settings) -> RunStart:
    """Return the start of an img2img run with the extra noise and the noise multiplier of the settings.

    A1111 multiplies the noise before it is added, and also adds img2img_extra_noise times the noise.
    """
    noise_sigma = start.noise_sigma + settings.img2img_extra_noise
    return replace(start, noise_sigma=noise_sigma * settings.initial_noise_multiplier)


def _start(plan: Plan, run_sigmas: RunSigmas, *, has_init_image: bool) -> RunStart | None:
    """Return the start of the run; None where the init image stays as it is."""
    if not has_init_image:
        return run_sigmas.from_noise()
    strength, fix_steps = image_steps(plan)
    assert strength is not None, "only a request with a strength has an init image"
    start = run_sigmas.from_image(strength, fix_steps)
    return None if start is None else add_extra_noise(start, plan.settings)


def _run_dry(sampler: Sampler, start: RunStart, settings: Settings) -> DryRun:
    """Return what the run will ask for; nothing is known of an adaptive sampler, which decides during the run."""
    if sampler.is_adaptive:
        return DryRun()
    denoised = (0.0, 0.0) if sampler.needs_uncond else 0.0
    return run_dry(sampler.run, start.sigmas, settings, denoised, TORCH_FLOAT32)


def _estimate_total(start: RunStart, index: int, sigma: float) -> int:
    """Return the estimated number of evaluations of an adaptive run, from its progress in log sigma."""
    first, last = start.sigmas[0], start.sigmas[-1]
    progress = math.log(first / sigma) / math.log(first / last)
    return index + 1 + math.ceil((1 - progress) * (index + 1) / max(progress, 0.05))
