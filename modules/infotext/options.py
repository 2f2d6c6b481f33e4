"""Options by their infotext keys: one as a pair of words, and back."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from pydantic import BaseModel

from modules.core.errors import NotFound
from modules.core.registry import did_you_mean
from modules.infotext.text_format import format_number, quote, unquote
from modules.params.param import params_of, validate
from modules.params.settings import Settings

_LONGEST_NUMBER = 40


def format_setting(name: str, value: object) -> str:
    """Return an option as an infotext tells it, such as "Clip skip: 2"."""
    row = params_of(Settings)[name]
    text = format_number(value) if isinstance(value, float) else str(value)
    return f"{row.infotext or row.label}: {quote(text)}"


def parse_setting(pair: str) -> tuple[str, Any]:
    """Return the name and the value of an option that `tell_option` told.

    Raises:
        NotFound: no option has that key.
        UserError: the value is not valid.
    """
    key, _, text = pair.partition(":")
    names = {row.infotext or row.label: name for name, row in params_of(Settings).items()}
    name = names.get(key.strip())
    if name is None:
        raise NotFound(f"There is no option '{key.strip()}'.", did_you_mean(key, names))
    return name, parse_setting_value(name, unquote(text.strip()))


def parse_setting_value(name: str, text: str) -> Any:  # of the option's own type
    """Return the value that a text is.

    Raises:
        UserError: the value is not valid.
    """
    return getattr(validate(Settings, {name: coerce_number(Settings, name, text)}), name)


def coerce_number(model: type[BaseModel], name: str, value: Any) -> Any:
    """Return the number that a text is where the field holds one, so that messages speak of numbers."""
    kind: object = model.model_fields[name].annotation
    is_number = kind is int or kind is float
    if not is_number or not isinstance(value, str) or len(value) > _LONGEST_NUMBER:
        return value
    with suppress(ValueError):
        return int(value)
    with suppress(ValueError):
        return float(value)
    return value
