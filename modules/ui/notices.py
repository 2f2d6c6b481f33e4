"""Notes and error messages as HTML."""

from __future__ import annotations

import html
from typing import Literal


def notice(kind: Literal["note", "error"], text: str) -> str:
    """Return a paragraph, shown until the next job; the text is escaped."""
    return f'<p class="notice {kind}" role="status">{html.escape(text)}</p>'
