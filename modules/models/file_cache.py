"""Disk caches of facts about model files: header facts, SHA-256 hashes and prediction types.

An entry holds for one size and modification time of a file, so a listing opens only new and changed files.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar, cast

from modules.core.atomic import write_text
from modules.models.families import FAMILIES, Family
from modules.models.scan import FileStamp
from modules.models.text_encoders import TextEncoderInfo

PREDICTIONS_FILE = "predictions.json"
PredictionType = Literal["epsilon", "v_prediction"]
PREDICTION_TYPES: tuple[PredictionType, ...] = ("epsilon", "v_prediction")
Key = TypeVar("Key")
Entry = TypeVar("Entry")
logger = logging.getLogger(__name__)


class HeaderFacts(NamedTuple):
    """What the header of a checkpoint file says about it.

    Args:
        family: Name of its row of FAMILIES, "" when none matches.
        error: Why it cannot be loaded, in a sentence, or "".
        text_encoder: Its text encoder, or the one it needs.
    """

    family: str
    error: str
    text_encoder: TextEncoderInfo = TextEncoderInfo()


class HeaderFactsCache:
    """Header facts of the checkpoint files listed last.

    Args:
        file: JSON file, created on the first write.
        families: The table by which families are detected.
    """

    def __init__(self, file: Path, families: Iterable[Family] = FAMILIES) -> None:
        self._file = file
        self._families = families
        self._facts: dict[FileStamp, HeaderFacts] | None = None

    def read(self) -> Mapping[FileStamp, HeaderFacts]:
        """Return the cached facts; none if the families have changed since they were stored."""
        if self._facts is None:
            digest = _families_digest(self._families)
            self._facts = _read_entries(self._file, partial(_parse_header_facts, digest))
        return self._facts

    def write(self, facts: Mapping[FileStamp, HeaderFacts]) -> None:
        """Replace the cached facts by these."""
        if facts == self._facts:
            return
        self._facts = dict(facts)
        rows = [[*stamp, f.family, f.error, *f.text_encoder] for stamp, f in facts.items()]
        _write_json(self._file, {"table": _families_digest(self._families), "files": rows})


class HashCache:
    """SHA-256 hashes of model files. The caller holds a lock.

    Args:
        file: JSON file, created on the first write.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._hashes: dict[str, tuple[int, int, str]] | None = None

    def get(self, stamp: FileStamp) -> str:
        """Return the hash of a file, or "" if it is not known."""
        size, modified, digest = self._load().get(stamp.path, (0, 0, ""))
        return digest if (size, modified) == (stamp.size_bytes, stamp.modified_ns) else ""

    def set(self, stamp: FileStamp, digest: str) -> None:
        """Store the hash of a file."""
        hashes = self._load()
        hashes[stamp.path] = (stamp.size_bytes, stamp.modified_ns, digest)
        _write_json(self._file, hashes, indent=1)

    def _load(self) -> dict[str, tuple[int, int, str]]:
        if self._hashes is None:
            self._hashes = _read_entries(self._file, _parse_hashes)
        return self._hashes


def read_prediction_type(folder: Path, stamp: FileStamp) -> PredictionType | None:
    """Return what the UNet of a checkpoint predicts, or None if it is not known.

    Args:
        folder: The cache folder.
        stamp: The checkpoint file as it is now.
    """
    entry: Any = _read_predictions(folder / PREDICTIONS_FILE).get(stamp.path)
    if not isinstance(entry, list):
        return None
    *size_and_time, prediction = cast("list[Any]", entry)  # JSON: anything
    is_current = size_and_time == [stamp.size_bytes, stamp.modified_ns]
    return next((known for known in PREDICTION_TYPES if is_current and known == prediction), None)


def write_prediction_type(folder: Path, stamp: FileStamp, prediction_type: PredictionType) -> None:
    """Store what the UNet of a checkpoint predicts."""
    file = folder / PREDICTIONS_FILE
    entry = [stamp.size_bytes, stamp.modified_ns, prediction_type]
    _write_json(file, {**_read_predictions(file), stamp.path: entry}, indent=1)


def _families_digest(families: Iterable[Family]) -> str:
    """Return a digest of the families: after a change of the table every file is detected again."""
    return hashlib.sha256(repr(tuple(families)).encode()).hexdigest()


def _parse_header_facts(digest: str, content: Any) -> dict[FileStamp, HeaderFacts]:
    if content["table"] != digest:
        return {}
    return {
        FileStamp(str(path), int(size), int(modified)): HeaderFacts(
            str(family), str(error), TextEncoderInfo(str(kind), int(width), bool(is_included))
        )
        for path, size, modified, family, error, kind, width, is_included in content["files"]
    }


def _parse_hashes(content: Any) -> dict[str, tuple[int, int, str]]:
    return {
        path: (int(size), int(modified), str(digest))
        for path, (size, modified, digest) in content.items()
    }


def _read_entries(file: Path, parse: Callable[[Any], dict[Key, Entry]]) -> dict[Key, Entry]:
    """Return the parsed entries of a cache file, none if it is absent or damaged."""
    try:
        return parse(json.loads(file.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        logger.warning("The cache file '%s' is damaged and will be rebuilt: %s", file, error)
        return {}


def _read_predictions(file: Path) -> dict[str, Any]:
    try:
        content: object = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return cast("dict[str, Any]", content) if isinstance(content, dict) else {}


def _write_json(file: Path, content: object, indent: int | None = None) -> None:
    """Write a cache file; a full or read-only disk costs only the time to compute the entries again."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_text(file, json.dumps(content, indent=indent))
    except OSError as error:
        logger.warning("The cache file '%s' cannot be written: %s", file, error)
