"""In which evaluations a unit counts, and how much each output of a ControlNet does; as sd-webui-controlnet has it."""

from __future__ import annotations

from dataclasses import dataclass

from modules.backend.denoise.denoiser import image_steps
from modules.plan.plan import Plan
from modules.plan.units.planned_unit import PlannedUnit
from modules.sampling.run_sigmas import RunSigmas

_SOFT_BASE, _SOFT_FIRST = 0.825, 12


@dataclass(frozen=True)
class UnitSchedule:
    """The evaluations in which a unit counts.

    Args:
        start: Share of the steps after which it counts.
        end: Share of the steps up to which it counts.
        steps: That A1111 plans for the run.
        evaluations_per_step: Of the sampler.
    """

    start: float
    end: float
    steps: int
    evaluations_per_step: int

    def counts_at(self, index: int) -> bool:
        """Return whether the unit counts in an evaluation, from 0."""
        # A1111 counts a step after its first evaluation, from 0: the first two steps are both at share 0.
        last_step = max(0, -(-index // self.evaluations_per_step) - 1)
        return self.start <= last_step / self.steps <= self.end


def make_schedule(planned: PlannedUnit, plan: Plan, run_sigmas: RunSigmas) -> UnitSchedule:
    """Return when a unit counts in a pass.

    Args:
        planned: The unit.
        plan: Of the pass.
        run_sigmas: Of its run.
    """
    steps = run_sigmas.planned_steps(*image_steps(plan))
    unit = planned.unit
    return UnitSchedule(
        unit.guidance_start, unit.guidance_end, steps, plan.sampler.evaluations_per_step
    )


def output_weights(planned: PlannedUnit, count: int) -> tuple[float, ...]:
    """Return the weight of each output of a ControlNet, that of the middle last.

    Args:
        planned: The unit.
        count: Of the outputs: 13 for SD 1.x and 2.x, 10 for SDXL.
    """
    unit = planned.unit
    if unit.advanced_weighting is not None:
        return unit.advanced_weighting
    if not planned.is_soft:
        return (unit.weight,) * count
    # The ten of SDXL have the first of the thirteen weights.
    is_sdxl = planned.model is not None and planned.model.family == "SDXL"
    first = _SOFT_FIRST if is_sdxl else count - 1
    return tuple(unit.weight * _SOFT_BASE ** (first - number) for number in range(count))
