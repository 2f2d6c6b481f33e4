"""Checks JSON where it comes in and cleans it where it goes out, once for every route.

A body that no answer could repeat, or that no file could hold, is refused before a route reads it; a text from a file
with half a character is answered with a question mark in its place.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from email.message import Message
from typing import Any, cast

from fastapi import APIRouter, Depends, Request
from fastapi.params import Depends as Dependency
from fastapi.responses import JSONResponse

from modules.api.security.json_body import LONG_STRINGS, LongStrings
from modules.core.errors import UserError

# Requests need about 6; pydantic gives up at 255, Python's json later.
MAX_DEPTH = 64
# Of a text that is no image: a prompt, a name. Looking for a similar name takes seconds for a long one.
MAX_TEXT_LENGTH = 2**18
# Of all texts of a request that its answer repeats; the answer is in memory three times.
MAX_ECHO_LENGTH = 16 * 2**20
_CUT_LENGTH = 100
_IMAGE_FIELD = re.compile("image|mask|data|depth|picture|control|script_args|alwayson_scripts")
_SURROGATE = re.compile("[\ud800-\udfff]")


async def check_body(request: Request) -> None:
    """Complete and check the JSON body of a request; a dependency of every route, which is called before it reads the body.

    Raises:
        UserError: see `check_json`.
        BodyTooLarge: see `LongStrings.put_back`.
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
        strings: LongStrings | None = request.scope.get(LONG_STRINGS)
        if strings is not None:  # the route gets the very object that this changes
            strings.put_back(parsed)
        check_json(parsed)


def check_json(value: Any, max_depth: int = MAX_DEPTH) -> None:
    """Check parsed JSON of any type.

    Args:
        value: The whole body.
        max_depth: How deep lists and objects may be nested.

    Raises:
        UserError: it has NaN or Infinity, half a character (a lone surrogate), a long text where no image
            is expected, or is nested too deep.
    """
    pending: list[tuple[Any, str, int]] = [(value, "", 0)]
    while pending:
        item, field, depth = pending.pop()
        if depth > max_depth:
            raise UserError(
                f"{_label(field)} is nested more than {max_depth} deep.",
                "Send it with fewer levels.",
            )
        if isinstance(item, str) and len(item) > MAX_TEXT_LENGTH and not _IMAGE_FIELD.search(field):
            raise UserError(
                f"{_label(field)} has {len(item)} characters; at most {MAX_TEXT_LENGTH} are allowed."
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


def shorten_texts(value: Any, max_length: int = MAX_ECHO_LENGTH) -> Any:
    """Return a copy of JSON whose texts together have at most so many characters: those after it are cut.

    Args:
        value: Parsed JSON of any type that was checked.
        max_length: Of all texts.
    """
    left = max_length

    def shorten(item: Any) -> Any:
        nonlocal left
        if isinstance(item, str):
            if len(item) > left:
                return f"{item[:_CUT_LENGTH]}…"
            left -= len(item)
        elif isinstance(item, Mapping):
            return {key: shorten(inner) for key, inner in cast("Mapping[str, Any]", item).items()}
        elif isinstance(item, list):
            return [shorten(inner) for inner in cast("list[Any]", item)]
        return item

    return shorten(value)


def _label(field: str) -> str:
    return field.replace("_", " ").capitalize()[:60] or "The request"


class Answer(JSONResponse):
    """A JSON response that can always be encoded: half a character is answered as a question mark."""

    def render(self, content: Any) -> bytes:
        """Return the content as JSON in UTF-8."""
        text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        return text.encode("utf-8", "replace")


class CheckedRouter(APIRouter):
    """A router whose bodies and answers are checked.

    FastAPI analyses the routes of an included router once more; those of this one are complete and go to the app as they are.

    Args:
        dependencies: Of all its routes, called after the check of the body.
        options: Of the router.
    """

    def __init__(self, *, dependencies: Sequence[Dependency] = (), **options: Any) -> None:
        super().__init__(
            dependencies=[Depends(check_body), *dependencies],
            default_response_class=Answer,
            **options,
        )
