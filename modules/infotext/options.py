"""Options as infotext pairs, by their infotext keys: formatting and parsing."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from pydantic import BaseModel

from modules.core.errors import NotFound
from modules.core.registry import did_you_mean
from modules.infotext.text_format import format_number, quote, unquote
from modules.params.param import params_of, validate
from modules.params.settings import Settings

_MAX_NUMBER_LENGTH = 40


def format_setting(name: str, value: object, settings_class: type[Settings] = Settings) -> str:
    """Return an option as an infotext pair, such as "Clip skip: 2"."""
    row = params_of(settings_class)[name]
    text = format_number(value) if isinstance(value, float) else str(value)
    return f"{row.infotext or row.label}: {quote(text)}"


def parse_setting(pair: str, settings_class: type[Settings] = Settings) -> tuple[str, Any]:
    """Return name and value of an option from a pair that `format_setting` wrote.

    Raises:
        NotFound: no option has that key.
        UserError: the value is not valid.
    """
    key, _, text = pair.partition(":")
    params = params_of(settings_class)
    names = {row.infotext or row.label: name for name, row in params.items()}
    name = names.get(key.strip())
    if name is None:
        raise NotFound(f"There is no option '{key.strip()}'.", did_you_mean(key, names))
    return name, parse_setting_value(name, unquote(text.strip()), settings_class)


def parse_setting_value(
    name: str, text: str, settings_class: type[Settings]
) -> Any:  # of the option's own type
    """Return an option's value parsed from text.

    Raises:
        UserError: the value is not valid.
    """
    number = coerce_number(settings_class, name, text)
    return getattr(validate(settings_class, {name: number}), name)


def coerce_number(model: type[BaseModel], name: str, value: Any) -> Any:
    """Return text as a number if the field is numeric, so that error messages are about numbers."""
    annotation: object = model.model_fields[name].annotation
    is_number = annotation is int or annotation is float
    if not is_number or not isinstance(value, str) or len(value) > _MAX_NUMBER_LENGTH:
        return value
    with suppress(ValueError):
        return int(value)
    with suppress(ValueError):
        return float(value)
    return value
