"""Finds the preprocessors and control models that an infotext's ControlNet units name, and says what no infotext holds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from modules.core.errors import NotFound, WebUIError
from modules.images.preprocessors.table import PREPROCESSORS
from modules.models.index import ModelIndex
from modules.params.requests.control_unit import NO_MODEL, ControlUnit


class ControlMatches(NamedTuple):
    """Units with names as they are here, and what is missing.

    Args:
        units: In the order of the infotext.
        missing: A sentence for each control model that is not here.
        remarks: Sentences on what else the units need.
    """

    units: tuple[ControlUnit, ...] = ()
    missing: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


def find_control_models(units: Sequence[ControlUnit], models: ModelIndex) -> ControlMatches:
    """Return an infotext's units, each with its control model and its preprocessor as they are named here."""
    missing: list[str] = []
    found: list[ControlUnit] = []
    for unit in units:
        changes = {"module": find_module(unit.module)}
        if unit.enabled and unit.model not in ("", NO_MODEL):
            try:
                changes["model"] = models.control.find(unit.model).title
            except WebUIError as error:
                place = "Put the file into models/ControlNet." if _is_missing(error) else str(error)
                missing.append(
                    f"The picture was made with the control model {unit.model}, which is not here. {place}"
                )
        found.append(unit.replace(**changes))
    numbers = [str(number) for number, unit in enumerate(units) if unit.enabled]
    remark = f"No infotext holds a control picture: add that of ControlNet {' and '.join(numbers)}."
    return ControlMatches(tuple(found), tuple(missing), (remark,) if numbers else ())


def find_module(name: str) -> str:
    """Return a preprocessor's own name for any of its names; an unknown one as it is, which the plan refuses."""
    try:
        return PREPROCESSORS.get(name).name
    except NotFound:
        return name


def _is_missing(error: WebUIError) -> bool:
    return isinstance(error, NotFound)
