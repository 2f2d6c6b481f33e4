"""What users note about a network, in `<name>.json` next to its file, as A1111 keeps it."""

from __future__ import annotations

import json
import math
from contextlib import suppress
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, cast

from modules.core.atomic import write_text
from modules.core.errors import BadFile, StorageError
from modules.core.text import escape

_MAX_BYTES = 1_000_000
# A1111's keys.
_KEYS = {
    "description": "description",
    "family": "sd version",
    "activation_text": "activation text",
    "preferred_weight": "preferred weight",
    "negative_text": "negative text",
    "notes": "notes",
}


@dataclass(frozen=True)
class UserMetadata:
    """The notes about one network.

    Args:
        description: Shown on its card.
        family: The checkpoints that it fits, where the file does not say; A1111's "SD1", "SD2" or "SDXL".
        activation_text: Added to the prompt together with it.
        preferred_weight: Instead of the default one; 0 for none.
        negative_text: Added to the negative prompt together with it.
        notes: Whatever else.
    """

    description: str = ""
    family: str = ""
    activation_text: str = ""
    preferred_weight: float = 0.0
    negative_text: str = ""
    notes: str = ""


NO_METADATA = UserMetadata()


def read_user_metadata(model: Path) -> UserMetadata:
    """Return the notes next to a model file; none where there is no such file or it is another program's."""
    content = _read_content(model.with_suffix(".json"))
    values: dict[str, Any] = {}
    for name, key in _KEYS.items():
        value: Any = content.get(key)
        default = getattr(NO_METADATA, name)
        if isinstance(default, float):
            values[name] = _read_number(value, default)
        else:
            values[name] = escape(value) if isinstance(value, str) else default
    return UserMetadata(**values)


def _read_number(value: object, default: float) -> float:
    with suppress(OverflowError):
        if isinstance(value, int | float) and math.isfinite(value):
            return float(value)
    return default


def write_user_metadata(model: Path, metadata: UserMetadata) -> None:
    """Write the notes next to a model file; what else is in that file stays.

    Raises:
        BadFile: there is a file of that name that is not of this kind.
        StorageError: it cannot be written.
    """
    path = model.with_suffix(".json")
    content = _read_content(path)
    if path.exists() and not content and path.stat().st_size > len("{}\n"):
        raise BadFile(f"'{escape(path.name)}' holds something else.", "Move it away.")
    for field in fields(metadata):
        value = getattr(metadata, field.name)
        key = _KEYS[field.name]
        if value != field.default or key in content:
            content[key] = value
    try:
        write_text(path, json.dumps(content, indent=4, ensure_ascii=False, allow_nan=False))
    except OSError as error:
        reason = error.strerror or error
        raise StorageError(f"'{escape(str(path))}' cannot be written: {reason}.") from error


def _read_content(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_BYTES + 1)
        content: Any = json.loads(data) if len(data) <= _MAX_BYTES else None
    except (OSError, ValueError, RecursionError):
        return {}
    return cast("dict[str, Any]", content) if isinstance(content, dict) else {}
