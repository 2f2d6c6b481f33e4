"""Codecs for infotext keys that hold several fields, and fields spread over several keys: one row each."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from modules.infotext import control_units

_SIZE = re.compile(r"(\d{1,6})\s?[xX\xd7*]\s?(\d{1,6})")
_USE_SAME = (
    "Use same checkpoint",
    "Use same sampler",
    "Use same scheduler",
    "Use same schedule type",
)
# Any of these keys marks a hires pass; a denoising strength alone is img2img's.
HIRES_MARKERS = ("Hires upscale", "Hires resize", "Hires upscaler")
_HIRES_KEYS = {
    "hr_checkpoint_name": "Hires checkpoint",
    "hr_sampler_name": "Hires sampler",
    "hr_prompt": "Hires prompt",
    "hr_negative_prompt": "Hires negative prompt",
    "hr_scheduler": "Hires schedule type",
}
Values = Mapping[str, Any]  # a request's fields, of any type
Pairs = Mapping[str, str]


@dataclass(frozen=True)
class Codec:
    """One row of CODECS.

    Args:
        name: Identifies the row.
        fields: Request fields that it reads and writes; it applies only to requests that have all of them.
        keys: Infotext keys that it reads and writes.
        write: Converts field values to pairs; a None value omits its key.
        read: Converts pairs to field values; a missing key means A1111's default. Raises ValueError with a sentence.
        other_keys: Keys of other versions, which are only read.
        markers: The row applies only if one of these keys is present; empty if it always applies.
    """

    name: str
    fields: tuple[str, ...]
    keys: tuple[str, ...]
    write: Callable[[Values], Mapping[str, object]]
    read: Callable[[Pairs], dict[str, Any]]
    markers: tuple[str, ...] = ()
    other_keys: tuple[str, ...] = ()

    @property
    def all_keys(self) -> tuple[str, ...]:
        """Return all keys that it reads."""
        return (*self.keys, *self.other_keys)

    def keys_in(self, pairs: Pairs) -> list[str]:
        """Return the keys of this row that are in the pairs."""
        if self.markers and not any(key in pairs for key in self.markers):
            return []
        return [key for key in self.all_keys if key in pairs]


def has_hires(pairs: Pairs) -> bool:
    """Return whether the pairs contain a hires pass."""
    return any(key in pairs for key in HIRES_MARKERS)


def parse_size(text: str) -> tuple[int, int]:
    """Return width and height of "512x768".

    Raises:
        ValueError: the text is not a size.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError("a size such as 512x768 is needed.")
    return int(match[1]), int(match[2])


def _write_size(values: Values) -> Mapping[str, object]:
    return {"Size": f"{values['width']}x{values['height']}"}


def _read_size(pairs: Pairs) -> dict[str, Any]:
    if "Size" not in pairs:
        return {}
    width, height = parse_size(pairs["Size"])
    return {"width": width, "height": height}


def _write_seed_resize(values: Values) -> Mapping[str, object]:
    width, height = values["seed_resize_from_w"], values["seed_resize_from_h"]
    return {"Seed resize from": f"{width}x{height}" if width > 0 and height > 0 else None}


def _read_seed_resize(pairs: Pairs) -> dict[str, Any]:
    width, height = parse_size(pairs.get("Seed resize from", "0x0"))
    return {"seed_resize_from_w": width, "seed_resize_from_h": height}


def _write_hires(values: Values) -> Mapping[str, object]:
    if not values["enable_hr"]:
        return {}
    width, height = values["hr_resize_x"], values["hr_resize_y"]
    has_size = bool(width or height)
    return {  # in A1111's order
        "Denoising strength": values["denoising_strength"],
        **{key: values[name] or None for name, key in _HIRES_KEYS.items()},
        "Hires upscale": None if has_size else values["hr_scale"],
        "Hires resize": f"{width}x{height}" if has_size else None,
        "Hires steps": values["hr_second_pass_steps"] or None,
        "Hires upscaler": values["hr_upscaler"],
    }


def _read_hires(pairs: Pairs) -> dict[str, Any]:
    if not has_hires(pairs):
        return {"enable_hr": False}
    width, height = parse_size(pairs.get("Hires resize", "0x0"))
    values: dict[str, Any] = {
        "enable_hr": True,
        "hr_resize_x": width,
        "hr_resize_y": height,
        "hr_second_pass_steps": pairs.get("Hires steps", "0"),
        "hr_upscaler": pairs.get("Hires upscaler", "Latent"),
    }
    optional = {"denoising_strength": "Denoising strength", "hr_scale": "Hires upscale"}
    values |= {name: pairs[key] for name, key in optional.items() if key in pairs}
    for name, key in _HIRES_KEYS.items():
        value = pairs.get(key, "")
        values[name] = "" if value in _USE_SAME else value
    return values


def _write_refiner(values: Values) -> Mapping[str, object]:
    if not values["refiner_checkpoint"]:
        return {}
    return {
        "Refiner": values["refiner_checkpoint"],
        "Refiner switch at": values["refiner_switch_at"],
    }


def _read_refiner(pairs: Pairs) -> dict[str, Any]:
    refiner = pairs.get("Refiner", "")
    if refiner.casefold() in ("", "none"):
        return {"refiner_checkpoint": ""}
    # Without a number A1111's API has switched at once.
    return {
        "refiner_checkpoint": refiner,
        "refiner_switch_at": pairs.get("Refiner switch at", "0"),
    }


CODECS: tuple[Codec, ...] = (
    Codec("size", ("width", "height"), ("Size",), _write_size, _read_size),
    Codec(
        "seed resize",
        ("seed_resize_from_w", "seed_resize_from_h"),
        ("Seed resize from",),
        _write_seed_resize,
        _read_seed_resize,
    ),
    Codec(
        "refiner",
        ("refiner_checkpoint", "refiner_switch_at"),
        ("Refiner", "Refiner switch at"),
        _write_refiner,
        _read_refiner,
    ),
    Codec(
        "hires fix",
        (
            "enable_hr",
            "denoising_strength",
            "hr_scale",
            "hr_resize_x",
            "hr_resize_y",
            "hr_second_pass_steps",
            "hr_upscaler",
            *_HIRES_KEYS,
        ),
        ("Denoising strength", *HIRES_MARKERS, "Hires steps", *_HIRES_KEYS.values()),
        _write_hires,
        _read_hires,
        HIRES_MARKERS,
    ),
    Codec(
        "ControlNet",
        ("control_units",),
        control_units.KEYS,
        control_units.write_units,
        control_units.read_units,
        other_keys=control_units.OLD_KEYS,
    ),
)


def codecs_for(fields: Mapping[str, object], codecs: Iterable[Codec] = CODECS) -> tuple[Codec, ...]:
    """Return the codecs whose fields a request has."""
    return tuple(row for row in codecs if all(name in fields for name in row.fields))
