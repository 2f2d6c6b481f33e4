"""Describes a declared field to the browser: which control it gets, and which values it takes."""

from __future__ import annotations

from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from modules.params.image import is_image_field, is_image_list
from modules.params.param import Param, params_of, unit_model

# JavaScript holds whole numbers exactly only up to this one; beyond it a browser needs them as text.
MAX_JAVASCRIPT_INTEGER = 2**53 - 1


def field_schema(param: Param, field: FieldInfo) -> dict[str, Any]:
    """Return one field as JSON.

    Returns:
        `label`, `help`, `default` and `kind`, a maker of assets/generation/fields.js; as far as they are declared the
        slider's `min`, `max` and `step`, the valid values `least`, `most` and `multiple`, the name of the engine's `list`
        of choices or the `choices` themselves (label and value), the `lines` of a text,
        `from_file` where it may come from a file, and the `fields` of each unit of a list of them.
    """
    low, high, step = param.slider or (param.ge, param.le, None)
    unit = unit_model(field)
    schema: dict[str, Any] = {
        "label": param.label,
        "help": param.help,
        "kind": _kind(param, field),
        "default": field.default,
        "min": low,
        "max": high,
        "step": step,
        "least": param.ge,
        "most": param.le,
        "multiple": param.multiple_of,
        "list": param.choices,
        "choices": _choices(param, field),
        "lines": param.lines,
        "from_file": param.from_file or None,
        "fields": unit
        and {
            name: field_schema(row, unit.model_fields[name]) | {"section": row.section}
            for name, row in params_of(unit).items()
        },
    }
    return {name: value for name, value in schema.items() if value not in (None, ())}


def _kind(param: Param, field: FieldInfo) -> str:
    default = field.default
    if is_image_field(field):
        return "images" if is_image_list(field) else "image"
    if unit_model(field) is not None:
        return "units"
    if param.choices is not None or _literals(field):
        return "choices" if isinstance(default, tuple) else "choice"
    if param.labels:
        return "radio"
    if isinstance(default, bool):
        return "check"
    if isinstance(default, int) and (param.le or 0) > MAX_JAVASCRIPT_INTEGER:
        return "seed"  # text: a number box would round a value beyond 2^53 before anybody could report it
    if param.slider is not None:
        return "slider"
    return "number" if isinstance(default, int | float) else "text"


def _choices(param: Param, field: FieldInfo) -> tuple[tuple[str, Any], ...]:
    """Return labels and values that never change during a run."""
    if param.labels:
        return tuple(
            (label, type(field.default)(value)) for value, label in enumerate(param.labels)
        )
    return tuple((str(value), value) for value in _literals(field))


def _literals(field: FieldInfo) -> tuple[Any, ...]:
    """Return the values of a Literal, or of a tuple of such; () for a field of any other type."""
    for annotation in (field.annotation, *get_args(field.annotation)):
        if get_origin(annotation) is Literal:
            return get_args(annotation)
    return ()
