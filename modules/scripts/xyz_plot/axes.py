"""The axes of a plot: one row for each field and option of a job, derived from its declaration, and rows of their own kind."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import PurePath
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from modules.core.errors import UserError
from modules.core.registry import did_you_mean
from modules.params.image import is_image_field
from modules.params.param import Param, params_of, unit_model
from modules.params.requests.base import GenerationRequest, overridable_settings
from modules.params.requests.noise_from_image import SECTION as NOISE_FROM_IMAGE
from modules.scripts.xyz_plot.a1111_axes import NAMED_AXES, NOTHING, NamedAxis
from modules.scripts.xyz_plot.prompt_axes import order_words, replace_words, weigh_network
from modules.scripts.xyz_plot.values import (
    AxisValue,
    read_booleans,
    read_floats,
    read_integers,
    read_permutations,
    read_texts,
    split_values,
)

# An axis for each file of a list of the engine: the beginning of its name, and the word of its tags in a prompt.
NETWORK_AXES: Mapping[str, tuple[str, str]] = {
    "LoRA weight: ": ("loras", "lora"),
    "Hypernetwork strength: ": ("hypernetworks", "hypernet"),
}
_SIZE = re.compile(r"(\d{1,9})\s*[xX]\s*(\d{1,9})")
_FLOAT_DIGITS = 8  # of a label
# sd-webui-controlnet's names of axes, where they are not those of its infotexts.
_UNIT_AXES = {
    "enabled": "Enabled",
    "module": "Preprocessor",
    "processor_res": "Pre Resolution",
    "threshold_a": "Pre Threshold A",
    "threshold_b": "Pre Threshold B",
}
_MODEL_COST = 0.5
Change = Callable[[GenerationRequest, Sequence[AxisValue], AxisValue], GenerationRequest]


@dataclass(frozen=True)
class Axis:
    """One row.

    Args:
        name: As A1111 names it, where it has it.
        read: Returns the values in a text; raises a UserError that says what would fit.
        change: Returns the request of a cell, of the request, all values of the axis, and the cell's.
        choices: Name of the engine's list of values, or the values themselves; nothing where any can be written.
        cost: How long it takes to go from one value to the next, 0 to 1: those of the highest change least often.
        has_plain_labels: Whether a label is the value alone.
        has_seeds: Whether the values are seeds, of which -1 is drawn.
    """

    name: str
    read: Callable[[str], list[AxisValue]]
    change: Change
    choices: str | tuple[str, ...] = ()
    cost: float = 0.0
    has_plain_labels: bool = False
    has_seeds: bool = False

    def label(self, value: AxisValue) -> str:
        """Return what a legend says of a value."""
        if isinstance(value, tuple):
            return ", ".join(value)
        text = str(round(value, _FLOAT_DIGITS) if isinstance(value, float) else value)
        return text if self.has_plain_labels else f"{self.name}: {text}"


def find_axis(request_type: type[GenerationRequest], name: str) -> Axis:
    """Return the axis of that name, in any case.

    Raises:
        UserError: these requests have no such axis.
    """
    axes = axes_of(request_type)
    found = axes.get(name.strip().casefold())
    if found is not None:
        return found
    for prefix, (_, tag) in NETWORK_AXES.items():
        if name.casefold().startswith(prefix.casefold()) and name[len(prefix) :].strip():
            network = name[len(prefix) :].strip()
            return Axis(prefix + network, read_floats, partial(weigh_network, tag, network))
    absent = next(
        (row.absent for row in NAMED_AXES if row.name.casefold() == name.strip().casefold()), ""
    )
    hint = absent or did_you_mean(name, [a.name for a in axes.values()])
    raise UserError(f"There is no axis named '{name}'.", hint)


@cache  # one table for each class
def axes_of(request_type: type[GenerationRequest]) -> Mapping[str, Axis]:
    """Return the axes of a task by their names in lower case: A1111's in its order, then all other fields and options."""
    axes = [Axis(NOTHING, lambda _: [], lambda request, _, __: request, has_plain_labels=True)]
    used: set[str] = set()
    for row in NAMED_AXES:
        own = _OWN_AXES.get(row.name) or _named_axis(request_type, row)
        if own is not None:
            axes.append(replace(own, cost=row.cost))
            used.update(row.fields)
    names = {axis.name.casefold() for axis in axes}
    for field, (param, info) in _declared(request_type).items():
        if field in used or not _varies(request_type, field, param, info):
            continue
        is_taken = param.label.casefold() in names
        name = f"{param.label} ({field})" if is_taken else param.label
        names.add(name.casefold())
        axes.append(_field_axis(request_type, name, (field,), param, info))
    for field, info in request_type.model_fields.items():
        axes += _unit_axes(field, info)
    return {axis.name.casefold(): axis for axis in axes}


def _declared(request_type: type[GenerationRequest]) -> dict[str, tuple[Param, FieldInfo]]:
    """Return the fields of a request and the options that it can override."""
    options = request_type.settings_class
    own, shared = params_of(request_type), params_of(options)
    found = {name: (param, request_type.model_fields[name]) for name, param in own.items()}
    for name, param in shared.items():
        if name in overridable_settings(options) and name not in found:
            found[name] = (param, options.model_fields[name])
    return found


def _varies(
    request_type: type[GenerationRequest], field: str, param: Param, info: FieldInfo
) -> bool:
    """Return whether a field changes pictures and has values that can be listed."""
    if is_image_field(info) or param.section in ("batch", NOISE_FROM_IMAGE):
        return False
    if field not in request_type.model_fields and param.infotext is None:
        return False
    return isinstance(info.default, bool | int | float) or bool(_choices(param, info))


def _named_axis(request_type: type[GenerationRequest], row: NamedAxis) -> Axis | None:
    """Return the axis of A1111's name, or None if the requests have no such field."""
    declared = _declared(request_type)
    if not row.fields or any(field not in declared for field in row.fields):
        return None
    param, info = declared[row.fields[0]]
    axis = _field_axis(request_type, row.name, row.fields, param, info)
    return replace(axis, has_plain_labels=row.has_plain_labels)


def _field_axis(
    request_type: type[GenerationRequest],
    name: str,
    fields: tuple[str, ...],
    param: Param,
    info: FieldInfo,
) -> Axis:
    choices, read = _choices(param, info), _reader(param, info)
    is_option = fields[0] not in request_type.model_fields
    change = partial(_change_options if is_option else _change_fields, fields)
    return Axis(name, read, change, choices, has_seeds=fields[0] in ("seed", "subseed"))


def _reader(param: Param, info: FieldInfo) -> Callable[[str], list[AxisValue]]:
    """Return what reads the values of a field."""
    choices = _choices(param, info)
    if param.labels:
        return partial(_read_labels, param, info)
    if isinstance(choices, tuple) and choices and not isinstance(info.default, bool):
        return partial(_read_choices, choices)
    if isinstance(info.default, bool):
        return read_booleans
    if isinstance(info.default, int | float):
        return read_floats if info.annotation is float else read_integers
    return read_texts


def _unit_axes(field: str, info: FieldInfo) -> list[Axis]:
    """Return the axes of the units of a field that is a list of them: each changes all units that are on."""
    unit, rows = unit_model(info), params_of(unit_model(info) or BaseModel)
    if unit is None:
        return []
    title = next(row.label for row in info.metadata if isinstance(row, Param))
    axes: list[Axis] = []
    for name, row in rows.items():
        its = unit.model_fields[name]
        if is_image_field(its) or row.section == "api":
            continue
        label = f"[{title}] {_UNIT_AXES.get(name) or row.infotext or row.label}"
        change = partial(_change_units, field, name, label)
        cost = _MODEL_COST if name == "model" else 0.0
        axes.append(Axis(label, _reader(row, its), change, _choices(row, its), cost))
    return axes


def _change_units(
    field: str,
    name: str,
    label: str,
    request: GenerationRequest,
    values: Sequence[AxisValue],
    value: AxisValue,
) -> GenerationRequest:
    """Return a request whose units that are on have a value; `enabled` itself is changed in the first one alone.

    Raises:
        UserError: no unit is on.
    """
    del values
    units: list[Any] = list(getattr(request, field))
    changed = [number for number, unit in enumerate(units) if unit.enabled or name == "enabled"]
    if not changed:
        raise UserError(f"'{label}' changes units that are on, and none is.", "Enable one.")
    for number in changed[:1] if name == "enabled" else changed:
        units[number] = units[number].replace(**{name: value})
    return request.replace(**{field: tuple(units)})


def _choices(param: Param, info: FieldInfo) -> str | tuple[str, ...]:
    if param.labels:
        return param.labels
    if isinstance(info.default, bool):
        return ("true", "false")
    if get_origin(info.annotation) is Literal:
        return tuple(map(str, get_args(info.annotation)))
    return param.choices if param.choices and isinstance(info.default, str) else ()


def _read_labels(param: Param, info: FieldInfo, text: str) -> list[AxisValue]:
    """Return the values of names; a number is its own value."""
    names = [label.casefold() for label in param.labels]
    numbers = [
        names.index(str(name).casefold()) if str(name).casefold() in names else name
        for name in _read_choices((*param.labels, *map(str, range(len(names)))), text)
    ]
    return [type(info.default)(int(number)) for number in numbers]  # pyright: ignore[reportArgumentType]


def _read_choices(choices: tuple[str, ...], text: str) -> list[AxisValue]:
    by_name = {choice.casefold(): choice for choice in choices}
    values: list[AxisValue] = []
    for part in filter(None, split_values(text)):
        if part.casefold() not in by_name:
            raise UserError(f"'{part}' is none of its values.", f"Use {', '.join(choices)}.")
        values.append(by_name[part.casefold()])
    return values


def _change_fields(
    fields: tuple[str, ...],
    request: GenerationRequest,
    values: Sequence[AxisValue],
    value: AxisValue,
) -> GenerationRequest:
    del values
    return request.replace(**dict.fromkeys(fields, value))


def _change_options(
    names: tuple[str, ...],
    request: GenerationRequest,
    values: Sequence[AxisValue],
    value: AxisValue,
) -> GenerationRequest:
    del values
    overrides = {**request.override_settings, **dict.fromkeys(names, value)}
    return request.replace(override_settings=overrides)


def _read_sizes(text: str) -> list[AxisValue]:
    values = list(filter(None, split_values(text)))
    for part in values:
        if not _SIZE.fullmatch(part):
            raise UserError(f"'{part}' is no size.", "Write 512x768, 768x512.")
    return list(values)


def _change_size(
    request: GenerationRequest, values: Sequence[AxisValue], value: AxisValue
) -> GenerationRequest:
    del values
    match = _SIZE.fullmatch(str(value))
    assert match is not None  # `_read_sizes` has checked it
    return request.replace(width=int(match[1]), height=int(match[2]))


def _change_unipc_order(
    request: GenerationRequest, values: Sequence[AxisValue], value: AxisValue
) -> GenerationRequest:
    """Return the request with an order below its steps, as A1111's axis has it: UniPC needs as many steps before."""
    order = max(1, min(int(str(value)), request.steps - 1))
    return _change_options(("uni_pc_order",), request, values, order)


def _add_styles(
    request: GenerationRequest, values: Sequence[AxisValue], value: AxisValue
) -> GenerationRequest:
    del values
    return request.replace(styles=(*request.styles, *filter(None, split_values(str(value)))))


class _CheckpointAxis(Axis):
    """An axis whose labels are the names of files without folders."""

    def label(self, value: AxisValue) -> str:
        return PurePath(str(value).replace("\\", "/")).name


# Those that no single field declares.
_OWN_AXES: Mapping[str, Axis] = {
    axis.name: axis
    for axis in (
        Axis("Prompt S/R", read_texts, replace_words, has_plain_labels=True),
        Axis("Prompt order", read_permutations, order_words),
        Axis("Styles", read_texts, _add_styles, choices="styles"),
        Axis("Size", _read_sizes, _change_size),
        Axis("UniPC Order", read_integers, _change_unipc_order),
        _CheckpointAxis(
            "Checkpoint name",
            read_texts,
            partial(_change_fields, ("sd_model_checkpoint",)),
            "checkpoints",
        ),
    )
}
