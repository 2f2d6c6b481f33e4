"""ControlNet units as sd-webui-controlnet's clients send them: `alwayson_scripts.controlnet.args`, with its older names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from modules.core.errors import UserError
from modules.params.image import ImageField, is_no_image
from modules.params.image_kinds import IMAGE, MASK, ImageKind
from modules.params.param import params_of
from modules.params.requests.control_unit import MODULE_DEFAULT, ControlUnit, read_units
from modules.params.settings.control import MAX_UNITS

_OLD_NAMES = {
    "input_image": "image",
    "mask_image": "mask",
    "guidance": "guidance_end",
}
_IMAGES: Mapping[str, ImageKind] = {"mask": MASK, "effective_region_mask": MASK}
_NUMBERS = ("processor_res", "threshold_a", "threshold_b")
_NOTHING = ("", "none")
_MAX_SHOWN = 60  # characters of a text that is no image


def read_control_args(args: Any) -> dict[str, Any]:  # JSON: anything
    """Return the units of the arguments as the field of a request; those that are off are not looked at.

    Raises:
        UserError: the arguments are no list, or a value of a unit cannot be used.
    """
    if isinstance(args, Mapping):  # one unit
        args = [args]
    if not isinstance(args, list):
        raise UserError(
            f"The arguments of controlnet are {args!r}; a list of units is needed.",
            'Such as [{"enabled": true, "module": "canny", "model": "…", "image": "…"}].',
        )
    units = [unit for unit in cast("list[Any]", args) if unit is not None]
    if len(units) > MAX_UNITS:
        raise UserError(f"There are {len(units)} ControlNet units; the most is {MAX_UNITS}.")
    read = read_units([_read_unit(unit, number) for number, unit in enumerate(units)])
    return {"control_units": read if any(unit.enabled for unit in read) else ()}


def _read_unit(unit: Any, number: int) -> Any:  # JSON: anything
    """Return the fields of a unit; others are left out, as sd-webui-controlnet does."""
    if not isinstance(unit, Mapping):
        return unit  # refused in words
    values = {str(key): value for key, value in cast("Mapping[Any, Any]", unit).items()}
    if not _is_enabled(values):
        return {}
    if values.get("ipadapter_input") not in (None, "", []):
        raise UserError(
            f"ControlNet unit {number} has ipadapter_input, which is a pickle and is not read.",
            "Send the picture in image.",
        )
    for old, name in _OLD_NAMES.items():
        if old in values and values.get(name) in (None, ""):
            values[name] = values[old]
    values |= _split_image(values)
    for name in ("image", *_IMAGES):
        values[name] = _read_image(values.get(name), name, number)
    more: Any = values.get("more_images")
    if isinstance(more, list | tuple):
        items = cast("Sequence[Any]", more)
        values["more_images"] = [_read_image(item, "image", number) for item in items]
    for name in _NUMBERS:
        if _is_out_of_range(name, values.get(name)):
            values[name] = MODULE_DEFAULT
    fields = ControlUnit.model_fields
    units = {name: value for name, value in values.items() if name in fields and value is not None}
    return {**units, "enabled": True}


def _is_enabled(values: Mapping[str, Any]) -> bool:
    """Return whether a unit is on; one that does not say so is, as in the API's version 2, if it names what acts."""
    if values.get("enabled") is not None:
        return bool(values["enabled"])
    names = (values.get(name) for name in ("model", "module"))
    return any(isinstance(name, str) and name.casefold() not in _NOTHING for name in names)


def _split_image(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return image and mask of {"image", "mask"}, of [image, mask], and of a list of such objects, with the other images."""
    image: Any = values.get("image")
    more: dict[str, Any] = {}
    if isinstance(image, list | tuple):
        items = cast("Sequence[Any]", image)
        if items and all(isinstance(item, Mapping) for item in items):
            image = items[0]
            more = {"more_images": [item.get("image") for item in items[1:]]} if items[1:] else {}
        else:
            image = dict(zip(("image", "mask"), items, strict=False))
    if not isinstance(image, Mapping):
        return {}
    both = cast("Mapping[str, Any]", image)
    return {"image": both.get("image"), "mask": both.get("mask") or values.get("mask"), **more}


def _read_image(value: Any, name: str, number: int) -> ImageField | None:
    """Return an image of base64; None for none.

    Raises:
        UserError: it is something else, such as the path of a file.
    """
    if is_no_image(value):
        return None
    if not isinstance(value, str):
        raise UserError(
            f"ControlNet unit {number}: {name} is {type(value).__name__}.",
            "Send the file in base64.",
        )
    try:
        return ImageField.from_base64(value, _IMAGES.get(name, IMAGE))
    except UserError as error:
        shown = repr(value[:_MAX_SHOWN]) + (" …" if len(value) > _MAX_SHOWN else "")
        raise UserError(
            f"ControlNet unit {number}: {name} {shown} is no picture in base64: {error}",
            "Paths of files are not read.",
        ) from error


def _is_out_of_range(name: str, value: Any) -> bool:
    """Return whether a number means the preprocessor's default, as one below its range does."""
    if value is None:
        return True
    row = params_of(ControlUnit)[name]
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and (value < 0 or (row.le is not None and value > row.le))
