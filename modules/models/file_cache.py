"""What was found in the headers of checkpoint files, remembered on disk: a listing opens only new files."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

from modules.core.atomic import write_text
from modules.models.families import FAMILIES
from modules.models.scan import FileStamp
from modules.models.text_encoders import TextEncoderInfo

logger = logging.getLogger(__name__)


class HeaderFacts(NamedTuple):
    """What a file's header tells.

    Args:
        family: Name of its row of FAMILIES, "" when none fits.
        error: Why it cannot be loaded, in a sentence, or "".
        text_encoder: Its text encoder, or the one it needs.
    """

    family: str
    error: str
    text_encoder: TextEncoderInfo = TextEncoderInfo()


class HeaderFactsCache:
    """What the headers of known files tell.

    Args:
        file: Where they are remembered; made on the first write.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._facts: dict[FileStamp, HeaderFacts] | None = None

    def read(self) -> Mapping[FileStamp, HeaderFacts]:
        """Return what is known; nothing when another table of families found it."""
        if self._facts is None:
            self._facts = _read_header_facts(self._file)
        return self._facts

    def write(self, facts: Mapping[FileStamp, HeaderFacts]) -> None:
        """Remember these and no others; a disk that refuses only costs the time to look again."""
        if facts == self._facts:
            return
        self._facts = dict(facts)
        rows = [[*stamp, v.family, v.error, *v.text_encoder] for stamp, v in facts.items()]
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            write_text(self._file, json.dumps({"table": _families_digest(), "files": rows}))
        except OSError as error:
            logger.warning("'%s' cannot be written: %s", self._file, error)


def _families_digest() -> str:
    """Return a digest of the families' table: a changed table judges anew."""
    return hashlib.sha256(repr(FAMILIES).encode()).hexdigest()


def _read_header_facts(file: Path) -> dict[FileStamp, HeaderFacts]:
    try:
        content = cast("dict[str, Any]", json.loads(file.read_text(encoding="utf-8")))
        if content["table"] != _families_digest():
            return {}
        return {
            FileStamp(str(path), int(size), int(modified)): HeaderFacts(
                str(family), str(fault), TextEncoderInfo(str(kind), int(width), bool(is_there))
            )
            for path, size, modified, family, fault, kind, width, is_there in content["files"]
        }
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, KeyError) as error:
        logger.warning("'%s' is damaged and begun anew: %s", file, error)
        return {}


PREDICTIONS_FILE = "predictions.json"
PredictionType = Literal["epsilon", "v_prediction"]
PREDICTION_TYPES: tuple[PredictionType, ...] = ("epsilon", "v_prediction")


def read_prediction_type(folder: Path, stamp: FileStamp) -> PredictionType | None:
    """Return what that file's network predicts, or None while it is not known.

    Args:
        folder: The cache's.
        stamp: The file as it is now.
    """
    found: Any = _read_predictions(folder / PREDICTIONS_FILE).get(stamp.path)
    if not isinstance(found, list):
        return None
    *size_and_time, prediction = cast("list[Any]", found)  # JSON: anything
    same = size_and_time == [stamp.size_bytes, stamp.modified_ns]
    return next((known for known in PREDICTION_TYPES if same and known == prediction), None)


def write_prediction_type(folder: Path, stamp: FileStamp, prediction_type: PredictionType) -> None:
    """Store what that file's network predicts; a folder that cannot be written only costs the time."""
    file = folder / PREDICTIONS_FILE
    content = {
        **_read_predictions(file),
        stamp.path: [stamp.size_bytes, stamp.modified_ns, prediction_type],
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_text(file, json.dumps(content, indent=1))
    except OSError as error:
        logger.warning("'%s' cannot be written: %s", file, error)


def _read_predictions(file: Path) -> dict[str, Any]:
    try:
        content: object = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return cast("dict[str, Any]", content) if isinstance(content, dict) else {}
