"""From a sampler, a schedule, a number of steps and the options to the levels of one run and its beginning."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from modules.core.errors import UserError
from modules.params.settings.sampling import SamplingSettings
from modules.sampling import part_way
from modules.sampling.noise_levels import NoiseLevels
from modules.sampling.part_way import Count, Start
from modules.sampling.samplers import Sampler
from modules.sampling.schedules import Schedule


@dataclass(frozen=True)
class Course:
    """One run's way through the noise levels.

    Args:
        sampler: Its row.
        schedule: Its row; "Automatic" is already replaced by what it stands for.
        steps: As asked for.
        trained: The model's noise levels, as its file has them.
        settings: The options.
    """

    sampler: Sampler
    schedule: Schedule
    steps: int
    trained: NoiseLevels
    settings: SamplingSettings

    @cached_property
    def levels(self) -> NoiseLevels:
        """Return the model's levels as the options and the sampler leave them."""
        levels = self.trained
        if self.settings.use_downcasted_alpha_bar:
            levels = levels.in_half_precision()
        if self.settings.sd_noise_schedule == "Zero Terminal SNR":
            levels = levels.with_zero_terminal_snr()
        if self.sampler.stride > 1:
            return levels.snapped(self.sampler.stride)
        if self.settings.enable_quantization and self.sampler.kind.hears_schedule:
            return levels.snapped()
        return levels

    def whole(self) -> Start:
        """Return the start of a run from noise alone."""
        start = self.sampler.kind.whole(self.sigmas(self.steps), self.settings)
        return self._own(start, is_whole=True)

    def part_way(self, denoising_strength: float, exact: bool = False) -> Start | None:
        """Return the start of a run from a picture, or None when nothing of it would change.

        Args:
            denoising_strength: 0 to 1.
            exact: Whether all steps are made, as in the hires pass and with the option img2img_fix_steps.
        """
        counted = self._counted(denoising_strength, exact)
        if counted is None or counted.kept < self.sampler.kind.least_kept:
            return None
        start = self.sampler.kind.part_way(self.sigmas(counted.steps), counted)
        return self._own(start, is_whole=False)

    def stretch(self, denoising_strength: float | None = None, exact: bool = False) -> list[float]:
        """Return all levels of the schedule, also those that a run from a picture leaves out.

        Over them the Brownian motion of the SDE samplers goes.

        Args:
            denoising_strength: Of a run from a picture; None for one from noise alone.
            exact: As in `part_way`.
        """
        counted = None
        if denoising_strength is not None:
            counted = self._counted(denoising_strength, exact)
        return self.sigmas(counted.steps if counted else self.steps)

    def sigmas(self, steps: int) -> list[float]:
        """Return the levels of a whole run of so many steps."""
        kind = self.sampler.kind
        if not (kind.hears_schedule and self._discards):
            return kind.sigmas(steps, self.schedule, self.levels, self.settings)
        sigmas = kind.sigmas(steps + 1, self.schedule, self.levels, self.settings)
        return [*sigmas[:-2], sigmas[-1]]

    @property
    def _discards(self) -> bool:
        return self.sampler.discards_next_to_last or self.settings.always_discard_next_to_last_sigma

    def _counted(self, denoising_strength: float, exact: bool) -> Count | None:
        return part_way.count(self.steps, denoising_strength, exact)

    def _own(self, start: Start, is_whole: bool) -> Start:
        if self.sampler.own_levels is None:
            return start
        return self.sampler.own_levels(start, is_whole, self.levels, self.settings)


def check_steps(
    sampler: Sampler, steps: int, denoising_strength: float | None = None, exact: bool = False
) -> None:
    """Refuse a run that would make no update.

    Args:
        sampler: Its row.
        steps: As asked for.
        denoising_strength: Of a run from a picture; None for one from noise alone.
        exact: Whether all steps are made.

    Raises:
        UserError: it would make none.
    """
    if steps < sampler.kind.least_steps:
        raise UserError(
            f"{sampler.name} with {steps} step makes no update.",
            f"Use at least {sampler.kind.least_steps} steps.",
        )
    if denoising_strength is None:
        return
    counted = part_way.count(steps, denoising_strength, exact)
    if counted is None or counted.kept < sampler.kind.least_kept:
        raise UserError(
            f"{sampler.name} with {steps} steps makes no update at a denoising strength of "
            f"{denoising_strength:g}.",
            "Use a larger one, more steps, or another sampler.",
        )
