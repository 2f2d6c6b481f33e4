"""Options that a request sets for itself alone, A1111's `override_settings`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, cast

from pydantic import BeforeValidator

from modules.core.errors import UserError
from modules.core.registry import did_you_mean
from modules.params.param import validated
from modules.params.settings import NOT_OF_A_JOB, Settings


def overridable() -> frozenset[str]:
    """Return the names of the options that a request may set for itself."""
    return frozenset(Settings.model_fields) - NOT_OF_A_JOB


def _read(value: Any) -> dict[str, Any]:  # whatever a form or a JSON body holds
    try:
        if not isinstance(value, Mapping):
            raise UserError(f"An object of options is needed, not {type(value).__name__}.")
        given = cast("Mapping[str, Any]", value)
        for name in given:
            if name in NOT_OF_A_JOB:
                raise UserError(f"'{name}' cannot be overridden; it is no option of a single job.")
            if name not in Settings.model_fields:
                raise UserError(
                    f"There is no option '{name}'.", did_you_mean(str(name), overridable())
                )
        checked = validated(Settings, given)
        return {name: getattr(checked, name) for name in given}
    except UserError as error:
        raise ValueError(str(error)) from error


# The type of a request's field: option names to values, each checked as the option's declaration says.
Overrides = Annotated[dict[str, Any], BeforeValidator(_read)]
