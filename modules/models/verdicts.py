"""What was found in the headers of checkpoint files, remembered on disk: a listing opens only new files."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

from modules.core.atomic import write_text
from modules.models.families import FAMILIES
from modules.models.hashing import FileStamp
from modules.models.text_encoders import TextSide

logger = logging.getLogger(__name__)


class Verdict(NamedTuple):
    """What a file's header tells.

    Args:
        family: Name of its row of FAMILIES, "" when none fits.
        fault: Why it cannot be loaded, in a sentence, or "".
        text: Its text encoder, or the one it needs.
    """

    family: str
    fault: str
    text: TextSide = TextSide()


class Verdicts:
    """What the headers of known files tell.

    Args:
        file: Where they are remembered; made on the first write.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._known: dict[FileStamp, Verdict] | None = None

    def read(self) -> Mapping[FileStamp, Verdict]:
        """Return what is known; nothing when another table of families found it."""
        if self._known is None:
            self._known = _read(self._file)
        return self._known

    def write(self, verdicts: Mapping[FileStamp, Verdict]) -> None:
        """Remember these and no others; a disk that refuses only costs the time to look again."""
        if verdicts == self._known:
            return
        self._known = dict(verdicts)
        rows = [[*stamp, v.family, v.fault, *v.text] for stamp, v in verdicts.items()]
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            write_text(self._file, json.dumps({"table": _table(), "files": rows}))
        except OSError as error:
            logger.warning("'%s' cannot be written: %s", self._file, error)


def _table() -> str:
    """Return a digest of the families' table: a changed table judges anew."""
    return hashlib.sha256(repr(FAMILIES).encode()).hexdigest()


def _read(file: Path) -> dict[FileStamp, Verdict]:
    try:
        content = cast("dict[str, Any]", json.loads(file.read_text(encoding="utf-8")))
        if content["table"] != _table():
            return {}
        return {
            FileStamp(str(path), int(size), int(modified)): Verdict(
                str(family), str(fault), TextSide(str(kind), int(width), bool(is_there))
            )
            for path, size, modified, family, fault, kind, width, is_there in content["files"]
        }
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, KeyError) as error:
        logger.warning("'%s' is damaged and begun anew: %s", file, error)
        return {}
