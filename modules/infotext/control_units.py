"""ControlNet units in infotexts: written as sd-webui-controlnet writes them, and read in the spellings of all its versions.

One unit is one pair: ControlNet 0: "Module: canny, Model: control_v11p_sd15_canny [d14c016b], Weight: 1, …". Before May 2023
each field was a pair, "ControlNet-0 Weight: 1", and a single unit had no number.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

from modules.core.errors import NotFound
from modules.images.preprocessors.table import PREPROCESSORS
from modules.infotext.text_format import format_number
from modules.params.param import params_of
from modules.params.requests.control_unit import MODULE_DEFAULT, ControlUnit
from modules.params.settings.control import MAX_UNITS

_PARAMS = params_of(ControlUnit)
_FIELDS = {row.infotext.casefold(): name for name, row in _PARAMS.items() if row.infotext}
# Keys of a unit in other versions, in lower case with single spaces. Those without a field change no picture.
_OTHER_KEYS = {
    "enabled": "enabled",
    "preprocessor": "module",
    "guidance strength": "guidance_end",
    "starting step": "guidance_start",
    "ending step": "guidance_end",
    "guidance": "guidance_end",
    "preprocessor resolution": "processor_res",
    "annotator resolution": "processor_res",
    "hires-fix option": "hr_option",
    "hires fix option": "hr_option",
}
_SINGLE_KEYS = (
    "Enabled",
    "Module",
    "Preprocessor",
    "Model",
    "Weight",
    "Guidance Strength",
    "Guidance Start",
    "Guidance End",
    "Starting Step",
    "Ending Step",
    "Resize Mode",
    "Pixel Perfect",
    "Control Mode",
    "Preprocessor Parameters",
    "Processor Res",
    "Threshold A",
    "Threshold B",
    "Hr Option",
)
_PREFIXES = ("ControlNet ", *(f"ControlNet-{number} " for number in range(MAX_UNITS)))
KEYS = tuple(f"ControlNet {number}" for number in range(MAX_UNITS))
OLD_KEYS = tuple(prefix + key for prefix in _PREFIXES for key in _SINGLE_KEYS)
# Keys whose value is a group of numbers: "starting/ending: (0, 1)".
_GROUPS: Mapping[str, tuple[str, ...]] = {
    "starting/ending": ("guidance_start", "guidance_end"),
    "preprocessor params": ("processor_res", "threshold_a", "threshold_b"),
    "preprocessor parameters": ("processor_res", "threshold_a", "threshold_b"),
}
_ENUM = re.compile(
    r"(?:ResizeMode|ControlMode|HiResFixOption)\.(\w+)"
)  # as Forge wrote it for a while
# Bounded, so that a long text takes no longer than its length.
_ITEM = re.compile(
    r"\s*([\w /-]{1,40}?)\s{0,9}:\s{0,9}(\([^)]{0,99}\)|\[[^]]{0,999}\]|[^,]*)(?:,|$)"
)


def write_units(values: Mapping[str, Any]) -> Mapping[str, object]:
    """Return a pair for each unit that is on; numbers that its preprocessor has not are left out, as by its versions of 2023."""
    units = cast("Sequence[ControlUnit]", values["control_units"])
    return {
        f"ControlNet {number}": _write_unit(unit)
        for number, unit in enumerate(units)
        if unit.enabled
    }


def _write_unit(unit: ControlUnit) -> str:
    resolved = _with_numbers(unit)
    written = {row.infotext: row.infotext_value(resolved, name) for name, row in _PARAMS.items()}
    shown = {
        key: value for key, value in written.items() if key and value not in (None, MODULE_DEFAULT)
    }
    ordered = {key: shown[key] for key in (*_ORDER, *shown) if key in shown}
    return ", ".join(f"{key}: {_format(value)}" for key, value in ordered.items())


def _with_numbers(unit: ControlUnit) -> ControlUnit:
    """Return a unit with the numbers that its preprocessor gets, and -1 where it has none."""
    try:
        row = PREPROCESSORS.get(unit.module)
    except NotFound:
        return unit
    sliders = {"processor_res": row.resolution, "threshold_a": row.a, "threshold_b": row.b}
    numbers = {
        name: slider.bound(getattr(unit, name)) if slider else MODULE_DEFAULT
        for name, slider in sliders.items()
    }
    return unit.replace(module=row.name, **numbers)


# That of sd-webui-controlnet; other keys follow.
_ORDER = (
    "Module",
    "Model",
    "Weight",
    "Resize Mode",
    "Processor Res",
    "Threshold A",
    "Threshold B",
    "Guidance Start",
    "Guidance End",
    "Pixel Perfect",
    "Control Mode",
)


def _format(value: object) -> str:
    if isinstance(value, tuple):
        numbers = cast("tuple[float, ...]", value)
        return f"[{'; '.join(map(format_number, numbers))}]"
    if isinstance(value, float):
        return format_number(value)
    # A file's name may have a comma or a colon, which would end the value.
    return str(value).replace(",", " ").replace(":", " ")


def read_units(pairs: Mapping[str, str]) -> dict[str, Any]:
    """Return the units of an infotext, without images; those between them are off.

    Raises:
        ValueError: a value cannot be read.
    """
    found: dict[int, dict[str, Any]] = {}
    for number in range(MAX_UNITS):
        text = pairs.get(f"ControlNet {number}")
        unit = dict(_read_items(_split(text))) if text else _read_single(pairs, number)
        if unit and unit.get("enabled", True):
            found[number] = {**unit, "enabled": True}
    return {
        "control_units": [found.get(number, {}) for number in range(max(found, default=-1) + 1)]
    }


def _split(text: str) -> dict[str, str]:
    return {match[1]: match[2] for match in _ITEM.finditer(text)}


def _read_single(pairs: Mapping[str, str], number: int) -> dict[str, Any]:
    """Return a unit of one pair for each field; the first one may have no number."""
    prefixes = (f"ControlNet-{number} ", *(["ControlNet "] if number == 0 else []))
    items = {
        key: pairs[prefix + key]
        for prefix in prefixes
        for key in _SINGLE_KEYS
        if prefix + key in pairs
    }
    return dict(_read_items(items)) if "Model" in items or "Module" in items else {}


def _read_items(items: Mapping[str, str]) -> Iterator[tuple[str, Any]]:
    for key, text in items.items():
        folded = " ".join(key.casefold().replace("_", " ").split())
        if folded in _GROUPS:
            numbers = [_number(part) for part in text.strip(" ()").split(",")]
            yield from zip(_GROUPS[folded], numbers, strict=False)
        elif name := _FIELDS.get(folded) or _OTHER_KEYS.get(folded):
            yield name, _value(name, text.strip())


def _value(name: str, text: str) -> Any:  # of the field's type
    default = ControlUnit.model_fields[name].default
    if enum := _ENUM.fullmatch(text):
        return enum[1]
    if isinstance(default, bool):
        return text.casefold() == "true"
    if name == "advanced_weighting":
        return _read_weights(text)
    return _number(text) if isinstance(default, int | float) else text


def _read_weights(text: str) -> tuple[float, ...] | None:
    inner = text.strip(" []")
    return (
        None if inner in ("", "None") else tuple(map(_number, inner.replace(";", ",").split(",")))
    )


def _number(text: str) -> float:
    """Return a number; the module's default for none.

    Raises:
        ValueError: the text is something else.
    """
    if text.strip() in ("", "None"):
        return MODULE_DEFAULT
    try:
        number = float(text)
    except ValueError:
        raise ValueError(f"a unit has {text.strip()!r} where a number is needed.") from None
    return int(number) if number.is_integer() else number
