"""A body of A1111's form to a request: what clients send, in all its spellings."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from modules.api.sdapi.request_schema import API_DEFAULTS, OPTION_FIELDS
from modules.core.errors import UserError
from modules.engine.engine import Engine
from modules.engine.infotext_context import read_infotext
from modules.params.param import validate
from modules.params.requests.base import GenerationRequest, overridable_settings
from modules.sampling.lookup import split_sampler_name

R = TypeVar("R", bound=GenerationRequest)
# Fields that ask for what happens anyway, or that the answer alone knows.
_OF_THE_ANSWER = frozenset(
    (
        "send_images",
        "override_settings_restore_afterwards",
        "do_not_save_samples",
        "do_not_save_grid",
        "save_images",
    )
)
# A1111's API saves nothing unless `save_images` asks for it, whatever the options say.
_UNSAVED = {"samples_save": False, "grid_save": False, "return_grid": False}
# A1111 takes any number below 1 for "no"; here it is 0.
_NOT_SET_BELOW_ZERO = ("seed_resize_from_w", "seed_resize_from_h")


@dataclass(frozen=True)
class SamplerNames:
    """The known samplers and schedules, to tell "DPM++ 2M Karras" apart."""

    samplers: Iterable[str] = ()
    schedules: Iterable[str] = ()


NO_NAMES = SamplerNames()


def parse_request(
    body: Mapping[str, Any], request_type: type[R], names: SamplerNames = NO_NAMES
) -> tuple[R, list[str]]:
    """Return the request in a body of A1111's form and a sentence for each field that has no effect.

    Args:
        body: JSON.
        request_type: The request's type.
        names: What a sampler's name of old may be made of.

    Raises:
        UserError: a value is not valid.
    """
    check_json(body)
    values = {
        key: value for key, value in body.items() if value is not None and key not in _OF_THE_ANSWER
    }
    overrides: dict[str, Any] = dict(values.pop("override_settings", {}))
    for name in ("sd_model_checkpoint", "sd_vae"):  # options of A1111, fields of ours
        chosen = overrides.pop(name, None)
        if chosen not in (None, ""):
            values.setdefault(name, chosen)
    overrides = {key: value for key, value in overrides.items() if value is not None}
    without_effect = overrides.keys() - overridable_settings()
    values["override_settings"] = {
        **{key: value for key, value in overrides.items() if key not in without_effect},
        **_options_among(values),
        **({} if body.get("save_images") else _UNSAVED),
    }
    _settle_sampler(values, names)
    for name in _NOT_SET_BELOW_ZERO:
        if values.get(name) == -1:
            values[name] = 0
    _read_older_hires(values)
    known = {key: value for key, value in values.items() if key in request_type.model_fields}
    unknown = [
        key for key, value in values.items() if key not in known and value not in ("", [], {})
    ]
    warnings = [
        f"The field '{key}' has no effect in this version."
        for key in sorted([*unknown, *without_effect])
    ]
    return validate(request_type, {**API_DEFAULTS, **known}), warnings


def check_json(body: Mapping[str, Any]) -> None:
    """Refuse what the answer's echo could not say.

    Raises:
        UserError: the body holds NaN or Infinity, or overrides that are no object.
    """
    try:
        json.dumps(body, allow_nan=False)
    except ValueError:
        raise UserError("The request holds NaN or Infinity, which JSON does not know.") from None
    if not isinstance(body.get("override_settings") or {}, Mapping):
        raise UserError(f"override_settings is {body['override_settings']!r}; an object is needed.")


def _settle_sampler(values: dict[str, Any], names: SamplerNames) -> None:
    """Leave one sampler and one schedule of sampler_name, sampler_index and scheduler."""
    older = values.pop("sampler_index", "")
    sampler = values.pop("sampler_name", "") or older or API_DEFAULTS["sampler_name"]
    schedule = values.pop("scheduler", "")
    if isinstance(sampler, str) and isinstance(schedule, str):
        sampler, held = split_sampler_name(sampler, names.samplers, names.schedules)
        schedule = held or schedule
    values["sampler_name"] = sampler
    if schedule:
        values["scheduler"] = schedule


def _read_older_hires(values: dict[str, Any]) -> None:
    """Take A1111's older fields of hires fix for what they were: the first pass's size, beside the finished one's."""
    width, height = values.pop("firstphase_width", 0), values.pop("firstphase_height", 0)
    if values.get("enable_hr") and width and height:
        finished = {
            "hr_resize_x": values.get("width", 512),
            "hr_resize_y": values.get("height", 512),
        }
        values.update(finished, width=width, height=height)


def _options_among(values: dict[str, Any]) -> dict[str, Any]:
    """Take out and return, as options, the fields of a body that A1111 names beside its options."""
    found: dict[str, Any] = {}
    for field, options in OPTION_FIELDS.items():
        if field in values:
            value = values.pop(field)
            found.update(dict.fromkeys(options, value))
    return found


# Another field that says the same.
_TWINS = {"sampler_name": "sampler_index"}
_FILES = ("sd_model_checkpoint", "sd_vae")  # options in A1111, fields here


def fill_from_infotext(
    engine: Engine, body: Mapping[str, Any], request_type: type[GenerationRequest]
) -> tuple[dict[str, Any], list[str]]:
    """Return a body with what its infotext says of fields that it does not give, and what could not be followed.

    Raises:
        UserError: the infotext is no text.
    """
    given = {key: value for key, value in body.items() if value is not None and key != "infotext"}
    text = body.get("infotext") or ""
    if not isinstance(text, str):
        raise UserError(f"infotext is {text!r}; a text is needed.")
    if not text.strip():
        return given, []
    reading = read_infotext(engine, text, request_type)
    asked: Any = given.get("override_settings") or {}  # checked where the request is made
    overrides = cast("Mapping[str, Any]", asked if isinstance(asked, Mapping) else {})
    filled = {
        name: value
        for name, value in reading.values.items()
        if name not in given
        and _TWINS.get(name) not in given
        and not (name in _FILES and name in overrides)
    }
    options = {**reading.override_settings, **overrides} if isinstance(asked, Mapping) else asked
    return {**filled, **given, "override_settings": options}, reading.report.messages()
