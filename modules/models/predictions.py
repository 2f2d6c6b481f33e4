"""What was found out about networks whose files do not tell what they predict, remembered beside the hashes."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any, Literal, cast

from modules.core.atomic import write_text
from modules.models.hashing import FileStamp

FILE = "predictions.json"
Prediction = Literal["epsilon", "v_prediction"]
PREDICTIONS: tuple[Prediction, ...] = ("epsilon", "v_prediction")
logger = logging.getLogger(__name__)


def remembered(folder: Path, stamp: FileStamp) -> Prediction | None:
    """Return what that file's network predicts, or None while it is not known.

    Args:
        folder: The cache's.
        stamp: The file as it is now.
    """
    found: Any = _read(folder / FILE).get(stamp.path)
    if not isinstance(found, list):
        return None
    *size_and_time, prediction = cast("list[Any]", found)  # JSON: anything
    same = size_and_time == [stamp.size_bytes, stamp.modified_ns]
    return next((known for known in PREDICTIONS if same and known == prediction), None)


def remember(folder: Path, stamp: FileStamp, prediction: Prediction) -> None:
    """Store what that file's network predicts; a folder that cannot be written only costs the time."""
    file = folder / FILE
    content = {**_read(file), stamp.path: [stamp.size_bytes, stamp.modified_ns, prediction]}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_text(file, json.dumps(content, indent=1))
    except OSError as error:
        logger.warning("'%s' cannot be written: %s", file, error)


def _read(file: Path) -> dict[str, Any]:
    try:
        content: object = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return cast("dict[str, Any]", content) if isinstance(content, dict) else {}
