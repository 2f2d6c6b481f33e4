"""How the page's own events run: without Gradio's veil over what they change, and out of its public API."""

from __future__ import annotations

from typing import Any

QUIET: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
