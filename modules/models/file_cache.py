"""Disk caches of facts about model files: header facts, SHA-256 hashes and prediction types.

An entry holds for one size and modification time of a file, so a listing opens only new and changed files.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeVar, cast

from modules.core.atomic import write_text
from modules.core.registry import Registry
from modules.models.families import Family
from modules.models.kinds import ModelKind
from modules.models.scan import FileStamp
from modules.models.text_encoders import TextEncoderInfo

PREDICTIONS_FILE = "predictions.json"
PredictionType = Literal["epsilon", "v_prediction"]
PREDICTION_TYPES: tuple[PredictionType, ...] = ("epsilon", "v_prediction")
Key = TypeVar("Key")
Entry = TypeVar("Entry")
logger = logging.getLogger(__name__)


class HeaderFacts(NamedTuple):
    """What the header of a file among the checkpoints says about it.

    Args:
        kind: Name of its row of KINDS, "" when none matches.
        family: Name of its row of FAMILIES, "" when none matches.
        error: Why it cannot be loaded, in a sentence, or "".
        text_encoders: Its text encoders, or those it needs.
    """

    kind: str = ""
    family: str = ""
    error: str = ""
    text_encoders: tuple[TextEncoderInfo, ...] = (TextEncoderInfo(),)


class HeaderFactsCache:
    """Header facts of the checkpoint files listed last.

    Args:
        file: JSON file, created on the first write.
        tables: Digest of the tables that the facts come from, see `tables_digest`.
    """

    def __init__(self, file: Path, tables: str) -> None:
        self._file = file
        self._tables = tables
        self._facts: dict[FileStamp, HeaderFacts] | None = None

    def read(self) -> Mapping[FileStamp, HeaderFacts]:
        """Return the cached facts; none if the tables have changed since they were stored."""
        if self._facts is None:
            self._facts = _read_entries(self._file, self._parse)
        return self._facts

    def write(self, facts: Mapping[FileStamp, HeaderFacts]) -> None:
        """Replace the cached facts by these."""
        if facts == self._facts:
            return
        self._facts = dict(facts)
        rows = [[*stamp, *f] for stamp, f in facts.items()]
        _write_json(self._file, {"table": self._tables, "files": rows})

    def _parse(self, content: Any) -> dict[FileStamp, HeaderFacts]:
        if content["table"] != self._tables:
            return {}
        return {
            FileStamp(str(path), int(size), int(modified)): HeaderFacts(
                str(kind),
                str(family),
                str(error),
                tuple(
                    TextEncoderInfo(str(layout), int(width), bool(is_included))
                    for layout, width, is_included in text_encoders
                ),
            )
            for path, size, modified, kind, family, error, text_encoders in content["files"]
        }


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


def tables_digest(kinds: Registry[ModelKind], families: Registry[Family]) -> str:
    """Return a digest of the tables that tell files: after a change every file is detected again."""
    return hashlib.sha256(repr((*kinds, *families)).encode()).hexdigest()


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
