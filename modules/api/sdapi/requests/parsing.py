"""Parses request bodies in A1111's format, with its older and alternative field names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar, cast

from modules.api.sdapi.requests.schema import API_DEFAULTS, OPTION_FIELDS
from modules.core.errors import UserError
from modules.core.registry import did_you_mean
from modules.engine.engine import Engine
from modules.engine.infotext_context import read_infotext
from modules.params.param import validate
from modules.params.requests.base import (
    GenerationRequest,
    overridable_settings,
    round_sides,
)
from modules.sampling.lookup import split_sampler_name

R = TypeVar("R", bound=GenerationRequest)
# Fields that only affect the response, or request what always happens.
_RESPONSE_FIELDS = frozenset(
    (
        "send_images",
        "override_settings_restore_afterwards",
        "do_not_save_samples",
        "do_not_save_grid",
        "save_images",
    )
)
# A1111's API saves nothing unless `save_images` is set, whatever the options are.
_SAVE_NOTHING = {"samples_save": False, "grid_save": False, "return_grid": False}
# A1111 treats any number below 1 as "not set"; here that is 0.
_UNSET_IF_NEGATIVE = ("seed_resize_from_w", "seed_resize_from_h")
_MODEL_FIELDS = ("sd_model_checkpoint", "sd_vae")  # options in A1111, fields here
_MAX_STYLE_WARNINGS = 20  # each name is compared with all styles
_WITHOUT_IMAGES = ("control_units",)  # of an infotext, which cannot be used without images
_ALTERNATIVE_FIELDS = {"sampler_name": "sampler_index"}


@dataclass(frozen=True)
class SamplerNames:
    """Names of all samplers and schedules, to split a combined name such as "DPM++ 2M Karras"."""

    samplers: Iterable[str] = ()
    schedules: Iterable[str] = ()


NO_NAMES = SamplerNames()


def parse_request(
    body: Mapping[str, Any], request_type: type[R], names: SamplerNames = NO_NAMES
) -> tuple[R, list[str]]:
    """Return the request in a body of A1111's format and a warning for each field without effect.

    Args:
        body: JSON.
        request_type: Type of the request.
        names: The samplers and schedules that an older sampler name may combine.

    Raises:
        UserError: a value is not valid.
    """
    _check_overrides(body)
    values = {
        key: value
        for key, value in body.items()
        if value is not None and key not in _RESPONSE_FIELDS
    }
    overrides: dict[str, Any] = dict(values.pop("override_settings", {}))
    for name in _MODEL_FIELDS:
        chosen = overrides.pop(name, None)
        if chosen not in (None, ""):
            values.setdefault(name, chosen)
    overrides = {key: value for key, value in overrides.items() if value is not None}
    without_effect = overrides.keys() - overridable_settings(request_type.settings_class)
    values["override_settings"] = {
        **{key: value for key, value in overrides.items() if key not in without_effect},
        **_pop_option_fields(values),
        **({} if body.get("save_images") else _SAVE_NOTHING),
    }
    _merge_sampler_fields(values, names)
    for name in _UNSET_IF_NEGATIVE:
        if values.get(name) == -1:
            values[name] = 0
    _convert_firstphase_size(values)
    values, rounding = round_sides(request_type, values)
    known = {key: value for key, value in values.items() if key in request_type.model_fields}
    unknown = [
        key for key, value in values.items() if key not in known and value not in ("", [], {})
    ]
    warnings = [
        f"The field '{key}' has no effect in this version."
        for key in sorted([*unknown, *without_effect])
    ]
    return validate(request_type, {**API_DEFAULTS, **known}), [*rounding, *warnings]


def _check_overrides(body: Mapping[str, Any]) -> None:
    """Refuse overrides that are not an object; the rest of the body was checked when it came in.

    Raises:
        UserError: the overrides are something else.
    """
    if not isinstance(body.get("override_settings") or {}, Mapping):
        raise UserError(f"override_settings is {body['override_settings']!r}; an object is needed.")


def _merge_sampler_fields(values: dict[str, Any], names: SamplerNames) -> None:
    """Merge sampler_name, sampler_index and scheduler into one sampler and one schedule."""
    index = values.pop("sampler_index", "")
    sampler = values.pop("sampler_name", "") or index or API_DEFAULTS["sampler_name"]
    schedule = values.pop("scheduler", "")
    if isinstance(sampler, str) and isinstance(schedule, str):
        sampler, suffix = split_sampler_name(sampler, names.samplers, names.schedules)
        schedule = suffix or schedule
    values["sampler_name"] = sampler
    if schedule:
        values["scheduler"] = schedule


def _convert_firstphase_size(values: dict[str, Any]) -> None:
    """Convert A1111's older hires fields: firstphase_* is the size of the first pass, width x height the final one."""
    width, height = values.pop("firstphase_width", 0), values.pop("firstphase_height", 0)
    if values.get("enable_hr") and width and height:
        final_size = {
            "hr_resize_x": values.get("width", 512),
            "hr_resize_y": values.get("height", 512),
        }
        values.update(final_size, width=width, height=height)


def _pop_option_fields(values: dict[str, Any]) -> dict[str, Any]:
    """Remove the fields of a body that set options, and return them as options."""
    settings: dict[str, Any] = {}
    for field, options in OPTION_FIELDS.items():
        if field in values:
            settings.update(dict.fromkeys(options, values.pop(field)))
    return settings


def drop_unknown_styles(engine: Engine, values: dict[str, Any]) -> list[str]:
    """Remove names of styles that do not exist, and return a warning for each.

    Clients send "None", an empty name, or the example "string" of their OpenAPI page; A1111 ignores any unknown name.
    """
    styles: Any = values.get("styles")  # JSON: anything; the request validates the rest
    if not isinstance(styles, list):
        return []
    known = engine.styles.names()
    names = cast("list[Any]", styles)
    unknown = dict.fromkeys(name for name in names if isinstance(name, str) and name not in known)
    values["styles"] = [name for name in names if not isinstance(name, str) or name in known]
    warnings = [
        f"There is no style named '{name}'; it is left out. {did_you_mean(name, known)}".strip()
        for name in islice(unknown, _MAX_STYLE_WARNINGS)
    ]
    if len(unknown) > len(warnings):
        warnings.append(f"{len(unknown) - len(warnings)} more styles do not exist.")
    return warnings


def fill_from_infotext(
    engine: Engine, body: Mapping[str, Any], request_type: type[GenerationRequest]
) -> tuple[dict[str, Any], list[str]]:
    """Return a body with its missing fields filled from its infotext, and warnings of what could not be used.

    Raises:
        UserError: the infotext is not a string.
    """
    fields = {key: value for key, value in body.items() if value is not None and key != "infotext"}
    text = body.get("infotext") or ""
    if not isinstance(text, str):
        raise UserError(f"infotext is {text!r}; a text is needed.")
    if not text.strip():
        return fields, []
    reading = read_infotext(engine, text, request_type)
    overrides: Any = (
        fields.get("override_settings") or {}
    )  # JSON: anything; `_check_overrides` refuses it
    known_overrides = cast("Mapping[str, Any]", overrides if isinstance(overrides, Mapping) else {})
    missing = {
        name: value
        for name, value in reading.values.items()
        if name not in fields
        and name not in _WITHOUT_IMAGES
        and _ALTERNATIVE_FIELDS.get(name) not in fields
        and not (name in _MODEL_FIELDS and name in known_overrides)
    }
    if isinstance(overrides, Mapping):
        overrides = {**reading.override_settings, **known_overrides}
    return {**missing, **fields, "override_settings": overrides}, reading.report.messages()
