"""Checks JSON where it comes in and cleans it where it goes out, once for every route.

A body that no answer could repeat, or that no file could hold, is refused before a route reads it; a text from a file
with half a character is answered with a question mark in its place.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from email.message import Message
from typing import Any, cast

from fastapi import Request
from fastapi.responses import JSONResponse

from modules.core.errors import UserError

# Requests need about 6; pydantic gives up at 255, Python's json later.
MAX_DEPTH = 64
_SURROGATE = re.compile("[\ud800-\udfff]")


async def check_body(request: Request) -> None:
    """Check the JSON body of a request; a dependency of every route.

    Raises:
        UserError: see `check_json`.
    """
    content_type = Message()
    content_type["content-type"] = request.headers.get("content-type", "")
    if "json" in content_type.get_content_subtype() and await request.body():
        try:
            # Parsed before by FastAPI where a route reads it; the request keeps it.
            parsed = await request.json()
        except RecursionError:
            raise UserError(
                "The request is nested too deep.", "Send it with fewer levels."
            ) from None
        except ValueError:
            return  # of a route that reads no body
        check_json(parsed)


def check_json(value: Any, max_depth: int = MAX_DEPTH) -> None:
    """Check parsed JSON of any type.

    Args:
        value: The whole body.
        max_depth: How deep lists and objects may be nested.

    Raises:
        UserError: it has NaN or Infinity, half a character (a lone surrogate), or is nested too deep.
    """
    pending: list[tuple[Any, str, int]] = [(value, "", 0)]
    while pending:
        item, field, depth = pending.pop()
        if depth > max_depth:
            raise UserError(
                f"{_label(field)} is nested more than {max_depth} deep.",
                "Send it with fewer levels.",
            )
        if isinstance(item, str) and not item.isascii() and _SURROGATE.search(item):
            raise UserError(f"{_label(field)} contains half a character; type it again.")
        if isinstance(item, float) and not math.isfinite(item):
            raise UserError("The request contains NaN or Infinity, which JSON does not allow.")
        if isinstance(item, Mapping):
            for key, inner in cast("Mapping[str, Any]", item).items():
                if not key.isascii() and _SURROGATE.search(key):
                    raise UserError("The name of a field contains half a character; type it again.")
                pending.append((inner, field or key, depth + 1))
        elif isinstance(item, list):
            pending += [(inner, field, depth + 1) for inner in cast("list[Any]", item)]


def _label(field: str) -> str:
    return field.replace("_", " ").capitalize()[:60] or "The request"


class Answer(JSONResponse):
    """A JSON response that can always be encoded: half a character is answered as a question mark."""

    def render(self, content: Any) -> bytes:
        """Return the content as JSON in UTF-8."""
        text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return text.encode("utf-8", "replace")
