"""Disk caches of facts about model files: header facts, SHA-256 hashes and prediction types.

An entry holds for one size and modification time of a file, so a listing opens only new and changed files.
A cache file with anything odd in it is dropped as a whole: its entries can be found again, and one wrong value would
break every start until someone deletes the file.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from modules.core.atomic import write_text
from modules.core.registry import Registry
from modules.models.families import Family
from modules.models.files.scan import FileStamp
from modules.models.kinds import ModelKind
from modules.models.prediction_facts import PREDICTION_TYPES, PredictionFacts, PredictionType
from modules.models.text_encoders import TextEncoderInfo

PREDICTIONS_FILE = "predictions.json"
MAX_CACHE_BYTES = 64_000_000  # of 100,000 files
MAX_INT64 = (1 << 63) - 1
SHA256 = re.compile(r"[0-9a-f]{64}")
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
        prediction: What it says about its prediction.
    """

    kind: str = ""
    family: str = ""
    error: str = ""
    text_encoders: tuple[TextEncoderInfo, ...] = (TextEncoderInfo(),)
    prediction: PredictionFacts = PredictionFacts()


class HeaderFactsCache:
    """Header facts of the checkpoint files listed last.

    Args:
        file: JSON file, created on the first write.
        tables: Digest of the tables that the facts come from, see `tables_digest`.
        are_possible: Whether the tables have what facts name.
    """

    def __init__(
        self, file: Path, tables: str, are_possible: Callable[[HeaderFacts], bool] | None = None
    ) -> None:
        self._file = file
        self._tables = tables
        self._are_possible = are_possible or bool
        self._facts: dict[FileStamp, HeaderFacts] | None = None

    def read(self) -> Mapping[FileStamp, HeaderFacts]:
        """Return the cached facts; none if the tables have changed since they were stored."""
        if self._facts is None:
            self._facts = read_entries(self._file, self._parse)
        return self._facts

    def write(self, facts: Mapping[FileStamp, HeaderFacts]) -> None:
        """Replace the cached facts by these."""
        if facts == self._facts:
            return
        self._facts = dict(facts)
        rows = [[*stamp, *f] for stamp, f in facts.items()]
        write_entries(self._file, {"table": self._tables, "files": rows}, self._parse)

    def _parse(self, content: Any) -> dict[FileStamp, HeaderFacts]:
        if content["table"] != self._tables:
            return {}
        facts = dict(map(_parse_facts, check_type(content["files"], list)))
        if not all(map(self._are_possible, facts.values())):
            raise ValueError("a kind, family or text encoder that is not in the tables")
        return facts


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
        write_entries(self._file, hashes, _parse_hashes, indent=1)

    def _load(self) -> dict[str, tuple[int, int, str]]:
        if self._hashes is None:
            self._hashes = read_entries(self._file, _parse_hashes)
        return self._hashes


def read_prediction_type(folder: Path, stamp: FileStamp) -> PredictionType | None:
    """Return what the UNet of a checkpoint predicts, or None if it is not known.

    Args:
        folder: The cache folder.
        stamp: The checkpoint file as it is now.
    """
    entry = read_entries(folder / PREDICTIONS_FILE, _parse_predictions).get(stamp.path)
    return entry[2] if entry is not None and entry[:2] == stamp[1:] else None


def write_prediction_type(folder: Path, stamp: FileStamp, prediction_type: PredictionType) -> None:
    """Store what the UNet of a checkpoint predicts."""
    file = folder / PREDICTIONS_FILE
    entry = stamp.size_bytes, stamp.modified_ns, prediction_type
    entries = {**read_entries(file, _parse_predictions), stamp.path: entry}
    write_entries(file, entries, _parse_predictions, indent=1)


def tables_digest(kinds: Registry[ModelKind], families: Registry[Family]) -> str:
    """Return a digest of the tables that identify files: after a change every file is detected again."""
    return hashlib.sha256(repr((*kinds, *families)).encode()).hexdigest()


def _parse_facts(row: Any) -> tuple[FileStamp, HeaderFacts]:
    path, size, modified, kind, family, error, text_encoders, prediction = row
    name, family, error = (check_type(text, str) for text in (kind, family, error))
    infos = (
        TextEncoderInfo(check_type(layout, str), check_size(width), check_type(is_included, bool))
        for layout, width, is_included in check_type(text_encoders, list, tuple)
    )
    facts = HeaderFacts(name, family, error, tuple(infos), _parse_prediction(prediction))
    return parse_stamp(path, size, modified), facts


def _parse_prediction(row: Any) -> PredictionFacts:
    has_v_key, stated, is_zero_terminal_snr = check_type(row, list, tuple)
    if stated not in ("", *PREDICTION_TYPES):
        raise ValueError("an unknown prediction type")
    return PredictionFacts(
        check_type(has_v_key, bool), stated, check_type(is_zero_terminal_snr, bool)
    )


def _parse_hashes(content: Any) -> dict[str, tuple[int, int, str]]:
    hashes: dict[str, tuple[int, int, str]] = {}
    for path, (size, modified, digest) in check_type(content, dict).items():
        if not SHA256.fullmatch(digest):
            raise ValueError("a hash that is none")
        hashes[path] = (*parse_stamp(path, size, modified)[1:], digest)
    return hashes


def _parse_predictions(content: Any) -> dict[str, tuple[int, int, PredictionType]]:
    predictions: dict[str, tuple[int, int, PredictionType]] = {}
    for path, (size, modified, prediction) in check_type(content, dict).items():
        if prediction not in PREDICTION_TYPES:
            raise ValueError("an unknown prediction type")
        predictions[path] = (*parse_stamp(path, size, modified)[1:], prediction)
    return predictions


def parse_stamp(path: Any, size: Any, modified: Any) -> FileStamp:
    """Return the stamp that an entry has.

    Raises:
        ValueError: it is none.
        TypeError: likewise.
    """
    if type(modified) is not int or abs(modified) > MAX_INT64:  # before 1970 it is negative
        raise ValueError("a time that is none")
    return FileStamp(check_type(path, str), check_size(size), modified)


def check_size(value: Any) -> int:
    """Return a value that is a size.

    Raises:
        ValueError: it is none.
    """
    if type(value) is not int or not 0 <= value <= MAX_INT64:
        raise ValueError("a size that is none")
    return value


def check_type(value: Any, *types: type) -> Any:
    """Return a value that is of one of these types.

    Raises:
        TypeError: it is not.
    """
    if not isinstance(value, types):
        raise TypeError(f"a value of the type {type(value).__name__}")
    return value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"the value {name}")


def read_entries(file: Path, parse: Callable[[Any], dict[Key, Entry]]) -> dict[Key, Entry]:
    """Return the parsed entries of a cache file, none if it is absent or odd."""
    try:
        if not file.exists():
            return {}
        if not file.is_file() or file.stat().st_size > MAX_CACHE_BYTES:
            raise ValueError("not a file of usual size")
        text = file.read_text(encoding="utf-8")
        return parse(json.loads(text, parse_constant=_refuse_constant))
    except (
        OSError,
        ArithmeticError,
        AttributeError,
        LookupError,
        RecursionError,
        TypeError,
        ValueError,
    ) as error:
        logger.warning("The cache file '%s' is damaged and will be rebuilt: %s", file, error)
        return {}


def write_entries(
    file: Path, content: object, parse: Callable[[Any], object], indent: int | None = None
) -> None:
    """Write a cache file; a full or read-only disk costs only the time to compute the entries again.

    What would not be read again is not written.
    """
    try:
        parse(content)
        file.parent.mkdir(parents=True, exist_ok=True)
        write_text(file, json.dumps(content, indent=indent, allow_nan=False))
    except (OSError, TypeError, ValueError) as error:
        logger.warning("The cache file '%s' cannot be written: %s", file, error)
