"""Plans the ControlNet units of a job: which of them take part in each of its passes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from modules.models.index import ModelIndex
from modules.plan.plan import Plan
from modules.plan.units.planned_unit import PlannedUnit
from modules.plan.units.unit_planning import check_family, fits, plan_unit, proportions_note

# Outlines of a pixel's width count less in a larger second pass, as in sd-webui-controlnet.
_SOFT_IN_HIRES = ("canny", "mlsd")
_LAMA = "inpaint_only+lama"
_LOW_RES, _HIGH_RES = "Low res only", "High res only"


def plan_control(plan: Plan, models: ModelIndex) -> Plan:
    """Return the plan of a job with the units of each pass and of its refiner, named as their files are.

    Args:
        plan: With its hires pass and refiners.
        models: Finds the control models.

    Raises:
        NotFound: a unit has no picture, no model, or one that does not exist.
        BadFile: its model cannot be used.
        UserError: its model was made for checkpoints of another family, or its options contradict each other.
    """
    request = plan.request
    units = tuple(
        plan_unit(index, unit, request, plan.model, models)
        for index, unit in enumerate(request.control_units)
        if unit.enabled
    )
    if not units:
        return plan
    named = {one.index: one.unit for one in units}
    resolved = tuple(named.get(i, unit) for i, unit in enumerate(request.control_units))
    plan = plan.with_requests(lambda one: one.model_copy(update={"control_units": resolved}))
    hires = plan.hires
    first = tuple(one for one in units if one.unit.hr_option != _HIGH_RES)
    plan = _with_units(replace(plan, notes=(*plan.notes, *_notes(plan, units))), first)
    if hires is None:
        return plan
    second = tuple(
        replace(one, is_soft=one.is_soft or any(name in one.unit.module for name in _SOFT_IN_HIRES))
        for one in units
        if one.unit.hr_option != _LOW_RES
    )
    for one in second:
        check_family(one, hires.plan.model, models)
    return replace(plan, hires=replace(hires, plan=_with_units(hires.plan, second)))


def _with_units(plan: Plan, units: tuple[PlannedUnit, ...]) -> Plan:
    """Return the plan of a pass with its units; its refiner gets those that it can follow."""
    refiner = plan.refiner
    if refiner is not None:
        refined = refiner.plan
        fitting = tuple(one for one in units if fits(one, refined.model))
        refiner = replace(refiner, plan=replace(refined, control=fitting))
    return replace(plan, control=units, refiner=refiner)


def _notes(plan: Plan, units: Sequence[PlannedUnit]) -> list[str]:
    """Return what a user should know of the units of a job."""
    notes: list[str] = []
    refiner = plan.refiner_model
    for one in units:
        if plan.hires is None and one.unit.hr_option == _HIGH_RES:
            notes.append(f"{one.label} counts in the pass of hires fix alone, and there is none.")
        if one.counts_nowhere:
            notes.append(f"{one.label} has weight 0 and changes nothing.")
        if one.masks and not one.has_mask(plan.request):
            notes.append(f"{one.label} has no mask, so that nothing of its picture is masked.")
        if one.module == _LAMA:
            notes.append(
                f"{one.label} does not fill its mask by LaMa: {_LAMA} works as inpaint_only here."
            )
        if refiner is not None and not fits(one, refiner):
            name, family = refiner.checkpoint.name, refiner.family.name
            notes.append(f"{one.label} ends where {name} takes over, which is {family}.")
        if note := proportions_note(one, plan.request):
            notes.append(note)
    return notes
