"""What was found in the headers of checkpoint files, remembered on disk: a listing opens only new files."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from modules.models.families import FAMILIES
from modules.models.hashing import FileStamp

Verdict = tuple[str, str]  # family and fault
logger = logging.getLogger(__name__)


class Verdicts:
    """Family and fault of known files.

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
        rows = [[*stamp, *verdict] for stamp, verdict in verdicts.items()]
        part = self._file.with_suffix(".part")
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            part.write_text(json.dumps({"table": _table(), "files": rows}), encoding="utf-8")
            part.replace(self._file)
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
            FileStamp(str(path), int(size), int(modified)): (str(family), str(fault))
            for path, size, modified, family, fault in content["files"]
        }
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, KeyError) as error:
        logger.warning("'%s' is damaged and begun anew: %s", file, error)
        return {}
