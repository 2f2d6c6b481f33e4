"""The field `infotext` of txt2img and img2img: it fills what a request leaves open."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from modules.core.errors import UserError
from modules.engine.engine import Engine
from modules.engine.reading import read_infotext
from modules.params.requests.base import GenerationRequest

# Another field that says the same.
_TWINS = {"sampler_name": "sampler_index"}
_FILES = ("sd_model_checkpoint", "sd_vae")  # options in A1111, fields here


def with_infotext(
    engine: Engine, body: Mapping[str, Any], model: type[GenerationRequest]
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
    reading = read_infotext(engine, text, model)
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
