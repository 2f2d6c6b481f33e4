"""Which tensors a user's regular expression leaves out of a merged checkpoint, within a bounded time."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

import regex

from modules.core.errors import UserError

MAX_PATTERN_LENGTH = 1000
# A pattern with nested repeats can take longer than the universe has; no sensible one takes a second for all names.
TIMEOUT_S = 2.0


def discard_names(pattern: str, names: Iterable[str], timeout_s: float = TIMEOUT_S) -> set[str]:
    """Return the names in which a regular expression is found; none for an empty one.

    Raises:
        UserError: it is not valid, or takes too long.
    """
    if not pattern:
        return set()
    compiled = _compile(pattern)
    deadline = time.monotonic() + timeout_s
    try:
        return {
            name
            for name in names
            if compiled.search(name, timeout=max(0.001, deadline - time.monotonic()))
        }
    except TimeoutError:
        raise UserError(
            f"The pattern '{pattern}' takes more than {timeout_s:g} seconds to compare with the tensors' names.",
            "Use one without a repeat inside of a repeat.",
        ) from None


def _compile(pattern: str) -> Any:  # Any: the package declares no types
    if len(pattern) > MAX_PATTERN_LENGTH:
        raise UserError(
            f"The pattern has {len(pattern)} characters; at most {MAX_PATTERN_LENGTH} are allowed."
        )
    try:
        return regex.compile(pattern)
    except (regex.error, RecursionError, OverflowError, MemoryError) as error:
        why = str(error) if isinstance(error, regex.error) else "it is nested too deeply"
        raise UserError(
            f"The pattern '{pattern}' is no regular expression: {why}.",
            "Put a backslash before a bracket, a dot or a star that means itself.",
        ) from None
