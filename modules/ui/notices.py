"""Sentences for the user as HTML."""

from __future__ import annotations

import html
from typing import Literal


def notice(kind: Literal["note", "error"], text: str) -> str:
    """Return a paragraph that stays until the next job; any text is safe in it."""
    return f'<p class="notice {kind}" role="status">{html.escape(text)}</p>'
