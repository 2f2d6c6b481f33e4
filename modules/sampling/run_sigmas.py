"""Sigmas of one run, from sampler, schedule, step count and options."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

from modules.core.errors import UserError
from modules.params.settings.sampling import SamplingSettings
from modules.sampling import run_start
from modules.sampling.arithmetic import FLOAT64, Arithmetic
from modules.sampling.model_sigmas import ModelSigmas
from modules.sampling.run_start import RunStart, StepCut
from modules.sampling.samplers import Sampler
from modules.sampling.schedules import Schedule

# A timestep this close below a whole number counts as that number.
_TIMESTEP_TOLERANCE = 1e-3


@dataclass(frozen=True)
class RunSigmas:
    """Sigmas of one run, from sampler, schedule, step count and options.

    Args:
        sampler: A row of SAMPLERS.
        schedule: A row of SCHEDULES; "Automatic" is already resolved.
        steps: Requested steps.
        trained_sigmas: The sigmas of the checkpoint.
        settings: Sampling options.
        arithmetic: How the sigmas of schedules are computed; timestep samplers compute theirs in 64 bits, as in A1111.
    """

    sampler: Sampler
    schedule: Schedule
    steps: int
    trained_sigmas: ModelSigmas
    settings: SamplingSettings
    arithmetic: Arithmetic = FLOAT64

    @cached_property
    def model_sigmas(self) -> ModelSigmas:
        """Return the model's sigmas, adjusted for the options and the sampler."""
        uses_schedule = self.sampler.family.uses_schedule
        sigmas = self.trained_sigmas
        if uses_schedule and self.arithmetic is not sigmas.arithmetic:
            sigmas = sigmas.with_arithmetic(self.arithmetic)
        if self.settings.use_downcasted_alpha_bar:
            sigmas = sigmas.to_half_precision(is_half=uses_schedule)
        if self.settings.sd_noise_schedule == "Zero Terminal SNR":
            sigmas = sigmas.with_zero_terminal_snr()
        if self.sampler.timestep_stride > 1:
            return sigmas.quantize(self.sampler.timestep_stride)
        if self.settings.enable_quantization and uses_schedule:
            return sigmas.quantize()
        return sigmas

    def from_noise(self) -> RunStart:
        """Return the start of a run from noise (txt2img)."""
        start = self.sampler.family.from_noise(self.sigmas(self.steps), self.settings)
        return self._adapt_start(start, from_noise=True)

    def from_image(self, denoising_strength: float, fix_steps: bool = False) -> RunStart | None:
        """Return the start of a run from an init image, or None when the run would change nothing.

        Args:
            denoising_strength: 0 to 1.
            fix_steps: Whether all steps are run, as in the hires pass and with the option img2img_fix_steps.
        """
        cut = self._cut_steps(denoising_strength, fix_steps)
        if cut is None or cut.t_enc < self.sampler.family.min_t_enc:
            return None
        start = self.sampler.family.from_image(self.sigmas(cut.steps), cut)
        return self._adapt_start(start, from_noise=False)

    def all_sigmas(
        self, denoising_strength: float | None = None, fix_steps: bool = False
    ) -> list[float]:
        """Return all sigmas of the schedule, including those that a run from an init image skips.

        They bound the Brownian motion of the SDE samplers.

        Args:
            denoising_strength: Of a run from an init image; None for one from noise.
            fix_steps: As in `from_image`.
        """
        cut = self._cut_steps(denoising_strength, fix_steps)
        return self.sigmas(cut.steps if cut else self.steps)

    def planned_steps(
        self, denoising_strength: float | None = None, fix_steps: bool = False
    ) -> int:
        """Return the number of steps that A1111 plans: with an init image one more than t_enc.

        Args:
            denoising_strength: Of a run from an init image; None for one from noise.
            fix_steps: As in `from_image`.
        """
        cut = self._cut_steps(denoising_strength, fix_steps)
        return cut.t_enc + 1 if cut else self.steps

    def sigmas(self, steps: int) -> list[float]:
        """Return the sigmas of a full run of `steps` steps."""
        family = self.sampler.family
        if not (family.uses_schedule and self._discards_next_to_last_sigma):
            return family.sigmas(steps, self.schedule, self.model_sigmas, self.settings)
        sigmas = family.sigmas(steps + 1, self.schedule, self.model_sigmas, self.settings)
        return [*sigmas[:-2], sigmas[-1]]

    def progress_at(self, sigma: float) -> float:
        """Return how much of the model's timesteps lies above a sigma, 0 to 1: A1111's measure of a run's progress."""
        family, sigmas = self.sampler.family, self.model_sigmas
        if family.mask_before_denoising:  # it counts timesteps, and A1111 cuts what is between two
            timestep = math.floor(family.timestep_at(sigmas, sigma) + _TIMESTEP_TOLERANCE)
        else:
            timestep = sigmas.nearest_timestep(sigma)
        return (sigmas.timestep_count - 1 - timestep) / sigmas.timestep_count

    @property
    def _discards_next_to_last_sigma(self) -> bool:
        return (
            self.sampler.discards_next_to_last_sigma
            or self.settings.always_discard_next_to_last_sigma
        )

    def _cut_steps(self, denoising_strength: float | None, fix_steps: bool) -> StepCut | None:
        if denoising_strength is None:
            return None
        return run_start.cut_steps(self.steps, denoising_strength, fix_steps)

    def _adapt_start(self, start: RunStart, from_noise: bool) -> RunStart:
        if self.sampler.adapt_start is None:
            return start
        return self.sampler.adapt_start(start, from_noise, self.model_sigmas, self.settings)


def check_steps(
    sampler: Sampler, steps: int, denoising_strength: float | None = None, fix_steps: bool = False
) -> None:
    """Reject a run without a single update.

    Args:
        sampler: A row of SAMPLERS.
        steps: Requested steps.
        denoising_strength: Of a run from an init image; None for one from noise.
        fix_steps: Whether all steps are run.

    Raises:
        UserError: the run would make no update.
    """
    if steps < sampler.family.min_steps:
        raise UserError(
            f"{sampler.name} with {steps} step makes no update.",
            f"Use at least {sampler.family.min_steps} steps.",
        )
    if denoising_strength is None:
        return
    cut = run_start.cut_steps(steps, denoising_strength, fix_steps)
    if cut is None or cut.t_enc < sampler.family.min_t_enc:
        raise UserError(
            f"{sampler.name} with {steps} steps makes no update at a denoising strength of "
            f"{denoising_strength:g}.",
            "Use a larger one, more steps, or another sampler.",
        )
