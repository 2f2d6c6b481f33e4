"""Prompts with their expected parse, from `tests/goldens/prompts.json`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_FILE = Path(__file__).resolve().parents[1] / "goldens" / "prompts.json"


def goldens(section: str) -> list[Any]:
    return json.loads(_FILE.read_text(encoding="utf-8"))[section]
