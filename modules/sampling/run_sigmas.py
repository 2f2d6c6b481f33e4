"""From a sampler, a schedule, a number of steps and the options to the levels of one run and its beginning."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from modules.core.errors import UserError
from modules.params.settings.sampling import SamplingSettings
from modules.sampling import run_start
from modules.sampling.model_sigmas import ModelSigmas
from modules.sampling.run_start import RunStart, StepCut
from modules.sampling.samplers import Sampler
from modules.sampling.schedules import Schedule


@dataclass(frozen=True)
class RunSigmas:
    """One run's way through the noise levels.

    Args:
        sampler: Its row.
        schedule: Its row; "Automatic" is already replaced by what it stands for.
        steps: As asked for.
        trained_sigmas: The model's noise levels, as its file has them.
        settings: The options.
    """

    sampler: Sampler
    schedule: Schedule
    steps: int
    trained_sigmas: ModelSigmas
    settings: SamplingSettings

    @cached_property
    def model_sigmas(self) -> ModelSigmas:
        """Return the model's levels as the options and the sampler leave them."""
        levels = self.trained_sigmas
        if self.settings.use_downcasted_alpha_bar:
            levels = levels.to_half_precision()
        if self.settings.sd_noise_schedule == "Zero Terminal SNR":
            levels = levels.with_zero_terminal_snr()
        if self.sampler.timestep_stride > 1:
            return levels.quantize(self.sampler.timestep_stride)
        if self.settings.enable_quantization and self.sampler.family.uses_schedule:
            return levels.quantize()
        return levels

    def from_noise(self) -> RunStart:
        """Return the start of a run from noise alone."""
        start = self.sampler.family.from_noise(self.sigmas(self.steps), self.settings)
        return self._adapt_start(start, from_noise=True)

    def from_image(self, denoising_strength: float, fix_steps: bool = False) -> RunStart | None:
        """Return the start of a run from a picture, or None when nothing of it would change.

        Args:
            denoising_strength: 0 to 1.
            fix_steps: Whether all steps are made, as in the hires pass and with the option img2img_fix_steps.
        """
        counted = self._cut_steps(denoising_strength, fix_steps)
        if counted is None or counted.t_enc < self.sampler.family.min_t_enc:
            return None
        start = self.sampler.family.from_image(self.sigmas(counted.steps), counted)
        return self._adapt_start(start, from_noise=False)

    def all_sigmas(
        self, denoising_strength: float | None = None, fix_steps: bool = False
    ) -> list[float]:
        """Return all levels of the schedule, also those that a run from a picture leaves out.

        Over them the Brownian motion of the SDE samplers goes.

        Args:
            denoising_strength: Of a run from a picture; None for one from noise alone.
            fix_steps: As in `part_way`.
        """
        counted = None
        if denoising_strength is not None:
            counted = self._cut_steps(denoising_strength, fix_steps)
        return self.sigmas(counted.steps if counted else self.steps)

    def sigmas(self, steps: int) -> list[float]:
        """Return the levels of a whole run of so many steps."""
        kind = self.sampler.family
        if not (kind.uses_schedule and self._discards_next_to_last_sigma):
            return kind.sigmas(steps, self.schedule, self.model_sigmas, self.settings)
        sigmas = kind.sigmas(steps + 1, self.schedule, self.model_sigmas, self.settings)
        return [*sigmas[:-2], sigmas[-1]]

    @property
    def _discards_next_to_last_sigma(self) -> bool:
        return (
            self.sampler.discards_next_to_last_sigma
            or self.settings.always_discard_next_to_last_sigma
        )

    def _cut_steps(self, denoising_strength: float, fix_steps: bool) -> StepCut | None:
        return run_start.cut_steps(self.steps, denoising_strength, fix_steps)

    def _adapt_start(self, start: RunStart, from_noise: bool) -> RunStart:
        if self.sampler.adapt_start is None:
            return start
        return self.sampler.adapt_start(start, from_noise, self.model_sigmas, self.settings)


def check_steps(
    sampler: Sampler, steps: int, denoising_strength: float | None = None, fix_steps: bool = False
) -> None:
    """Refuse a run that would make no update.

    Args:
        sampler: Its row.
        steps: As asked for.
        denoising_strength: Of a run from a picture; None for one from noise alone.
        fix_steps: Whether all steps are made.

    Raises:
        UserError: it would make none.
    """
    if steps < sampler.family.min_steps:
        raise UserError(
            f"{sampler.name} with {steps} step makes no update.",
            f"Use at least {sampler.family.min_steps} steps.",
        )
    if denoising_strength is None:
        return
    counted = run_start.cut_steps(steps, denoising_strength, fix_steps)
    if counted is None or counted.t_enc < sampler.family.min_t_enc:
        raise UserError(
            f"{sampler.name} with {steps} steps makes no update at a denoising strength of "
            f"{denoising_strength:g}.",
            "Use a larger one, more steps, or another sampler.",
        )
