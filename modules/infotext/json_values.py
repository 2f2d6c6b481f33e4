"""Values out of JSON that anybody may have written: of any type, and none of them to be relied on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

from modules.infotext.words import number

Object = Mapping[str, Any]  # a JSON object: values of any type


def json_object(text: str) -> Object | None:
    """Return the object that a text is, or None."""
    if not text.lstrip().startswith("{"):
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def as_object(value: object) -> Object:
    """Return the value where it is an object, else an empty one."""
    return cast("Object", value) if isinstance(value, dict) else {}


def as_list(value: object) -> list[Any]:
    """Return the value where it is a list, else an empty one."""
    return cast("list[Any]", value) if isinstance(value, list) else []


def scalar(value: object) -> str:
    """Return a value as an infotext's; "" for what is none, such as null or a list."""
    if isinstance(value, float):
        return number(value)
    return str(value) if isinstance(value, str | int) else ""
