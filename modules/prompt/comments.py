"""Takes comments out of a prompt: whatever stands between # and the end of its line."""

from __future__ import annotations

import re

_WHOLE_LINE = re.compile(r"^#[^\n]*(?:\n|\Z)", re.MULTILINE)
_REST_OF_LINE = re.compile(r"#[^\n]*")


def strip_comments(prompt: str) -> str:
    """Return the prompt without comments; a line that is nothing but one goes altogether."""
    return _REST_OF_LINE.sub("", _WHOLE_LINE.sub("", prompt))
