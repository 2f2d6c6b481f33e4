"""The wildcards of a folder: text files with a value a line, and YAML or JSON files with lists of them."""

from __future__ import annotations

import logging
import math
import os
import re
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any, cast

from modules.core.registry import did_you_mean

logger = logging.getLogger(__name__)

_SUFFIXES = (".txt", ".yaml", ".yml", ".json")
_MAX_FILE_BYTES = 64 * 2**20
_MAX_LEVELS = 20
_MAX_NAMES = 20_000  # of one file; an alias repeats a mapping at no cost to the file
_MAX_VALUES = 2_000_000
_COMMENT = re.compile(r"(?:^|\s)#.*")
_GLOB = re.compile(r"\*\*/|\*\*|\*|\?|\[[^\]/\\[]+\]|.", re.DOTALL)
_WEIGHTED = re.compile(r"(\d+(?:\.\d*)?)::(.*)", re.DOTALL)


@dataclass(frozen=True)
class WildcardValues:
    """The values of a wildcard, in the order in which they are drawn from.

    Args:
        texts: The values.
        weights: Of two values, that with twice the weight is drawn twice as often.
    """

    texts: tuple[str, ...] = ()
    weights: tuple[float, ...] = ()

    @cached_property
    def cumulative_weights(self) -> tuple[float, ...] | None:
        """Return the sums of the weights up to each value; None where all are the same."""
        if len(set(self.weights)) < 2:
            return None
        return tuple(accumulate(self.weights))


_NO_VALUES = WildcardValues()
_Listed = Mapping[str, WildcardValues]


@dataclass(frozen=True)
class _ReadFile:
    stamp: tuple[int, int]
    wildcards: _Listed


class WildcardLibrary:
    """The wildcards of a folder, read again when a file has changed. Thread-safe.

    A text file is the wildcard of its name without the suffix, with those of its folders before it, "colours/warm". A YAML file
    has the wildcards of its keys, "animals/cats" for a list in a mapping, and one that is a list alone that of its name.

    Args:
        folder: The folder, which need not exist.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock = threading.Lock()
        self._files: dict[Path, _ReadFile] = {}

    def read(self) -> Wildcards:
        """Return the wildcards as they are now."""
        with self._lock:
            files = {path: self._read(path) for path in _list_files(self.folder)}
            self._files = files
        merged: dict[str, WildcardValues] = {}
        for file in files.values():
            for name, values in file.wildcards.items():
                merged[name] = _join([merged[name], values]) if name in merged else values
        return Wildcards(merged)

    def _read(self, path: Path) -> _ReadFile:
        """Return a file's wildcards; of one that cannot be read none, with a warning in the log."""
        known, stamp = self._files.get(path), _stamp(path)
        if known is not None and known.stamp == stamp:
            return known
        try:
            if stamp[1] > _MAX_FILE_BYTES:
                raise ValueError(f"it is larger than {_MAX_FILE_BYTES >> 20} MB")
            return _ReadFile(stamp, _read_wildcards(path, self.folder))
        except (OSError, ValueError, RecursionError) as error:
            reason = " ".join(str(error).split())[:300]
            logger.warning("The wildcards in %s cannot be read: %s.", path, reason)
            return _ReadFile(stamp, {})


def _stamp(path: Path) -> tuple[int, int]:
    """Return what changes when a file does: time and size; zeros for one that is gone."""
    try:
        stat = path.stat()
    except OSError:
        return 0, 0
    return stat.st_mtime_ns, stat.st_size


class Wildcards:
    """The wildcards of a moment.

    Args:
        values: By name.
    """

    def __init__(self, values: _Listed) -> None:
        self._values = values
        self._found: dict[str, WildcardValues] = {}
        self._folded = {name.casefold(): name for name in values}

    def names(self) -> list[str]:
        """Return the names in alphabetical order."""
        return sorted(self._values)

    def __contains__(self, pattern: str) -> bool:
        return bool(self.find(pattern).texts)

    def find(self, pattern: str) -> WildcardValues:
        """Return the values of a name, or of all names that match a pattern with "*", "?", "[" or "**"; none if there are none.

        A name without its folder, or in another case, finds its file as well. The values are sorted and each is there
        once, as in the package dynamicprompts, so that the same seed draws the same.
        """
        pattern = pattern.strip().strip("/")
        if pattern not in self._found:
            names = self._match(pattern) or (
                [] if "**" in pattern else self._match(f"**/{pattern}")
            )
            self._found[pattern] = _sort(_join([self._values[name] for name in names]))
        return self._found[pattern]

    def suggest(self, name: str) -> str:
        """Return a sentence that names wildcards with a similar name, or what there is."""
        if not self._values:
            return "Put wildcards/NAME.txt with a value a line into the data folder."
        return did_you_mean(name, self._values)

    def _match(self, pattern: str) -> list[str]:
        if not any(mark in pattern for mark in "*?["):
            name = pattern if pattern in self._values else self._folded.get(pattern.casefold())
            return [] if name is None else [name]
        expression = re.compile(_to_expression(pattern), re.IGNORECASE)
        return [name for name in sorted(self._values) if expression.fullmatch(name)]


NO_WILDCARDS = Wildcards({})


def _to_expression(pattern: str) -> str:
    """Return the regular expression of a pattern."""
    expressions = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    tokens = _GLOB.findall(pattern)
    return "".join(
        expressions.get(token) or (token if len(token) > 1 else re.escape(token))
        for token in tokens
    )


def _list_files(folder: Path) -> Iterator[Path]:
    """Yield the files of a folder in alphabetical order, links followed and hidden folders left out."""
    seen: set[str] = set()
    for parent, folders, files in os.walk(folder, followlinks=True):
        real = os.path.realpath(parent)
        if real in seen:  # a link to a folder above it
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if name.lower().endswith(_SUFFIXES) and not name.startswith("."):
                yield Path(parent, name)


def _read_wildcards(path: Path, root: Path) -> dict[str, WildcardValues]:
    relative = path.relative_to(root)
    text = _decode(path.read_bytes())
    if path.suffix.lower() == ".txt":
        lines = (_COMMENT.sub("", line).strip() for line in text.splitlines())
        return {relative.with_suffix("").as_posix(): _from_texts([line for line in lines if line])}
    folder = () if relative.parent == Path() else (relative.parent.as_posix(),)
    content = _parse_yaml(text)
    reader = _StructureReader()
    if isinstance(content, list):
        reader.add((*folder, relative.stem), content)
    else:
        reader.add(folder, content)
    return reader.found


def _parse_yaml(text: str) -> Any:  # Any: whatever a YAML file holds
    """Return the content of a YAML file; JSON is YAML.

    Raises:
        ValueError: it is not valid.
    """
    import yaml  # imported here, because most prompts have no wildcards

    try:
        return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error


class _StructureReader:
    """Collects the lists of values in mappings."""

    def __init__(self) -> None:
        self.found: dict[str, WildcardValues] = {}
        self._name_count = 0
        self._value_count = 0

    def add(self, names: tuple[str, ...], content: Any) -> None:  # Any: whatever a YAML file holds
        """Add what a key holds: a list of values, one value, or a mapping with further keys.

        Raises:
            ValueError: there is more of it than anybody would write.
        """
        if len(names) > _MAX_LEVELS:
            raise ValueError(f"its mappings are nested more than {_MAX_LEVELS} times")
        self._name_count += 1
        if self._name_count > _MAX_NAMES:
            raise ValueError(f"it has more than {_MAX_NAMES} keys")
        if isinstance(content, dict):
            for key, inner in cast("dict[Any, Any]", content).items():
                self.add((*names, str(key)), inner)
        elif content and names:
            items = cast("list[Any]", content) if isinstance(content, list) else [content]
            self._value_count += len(items)
            if self._value_count > _MAX_VALUES:
                raise ValueError(f"it has more than {_MAX_VALUES} values")
            pairs = [pair for item in items if (pair := _read_item(item))]
            if pairs:
                texts, weights = zip(*pairs, strict=True)
                self.found["/".join(names)] = WildcardValues(texts, weights)


def _read_item(item: Any) -> tuple[str, float] | None:  # Any: whatever a YAML file holds
    """Return text and weight of one item: "2::red", a mapping with "text" and "weight", or any scalar."""
    if isinstance(item, dict):
        entry = cast("dict[Any, Any]", item)
        text, weight = entry.get("text") or entry.get("content"), entry.get("weight", 1)
        is_number = isinstance(weight, int | float) and math.isfinite(weight) and weight >= 0
        return (str(text), float(weight)) if text and is_number else None
    if item is None or isinstance(item, list) or str(item) == "":
        return None
    weighted = _WEIGHTED.fullmatch(str(item))
    return (weighted[2], float(weighted[1])) if weighted else (str(item), 1.0)


def _decode(data: bytes) -> str:
    """Return the text of a file in UTF-8 or UTF-16, or else in the code page of Western Windows."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return data.decode("utf-16", "replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")


def _from_texts(texts: list[str]) -> WildcardValues:
    return WildcardValues(tuple(texts), (1.0,) * len(texts))


def _join(parts: list[WildcardValues]) -> WildcardValues:
    if len(parts) < 2:
        return parts[0] if parts else _NO_VALUES
    texts = tuple(text for part in parts for text in part.texts)
    return WildcardValues(texts, tuple(weight for part in parts for weight in part.weights))


def _sort(values: WildcardValues) -> WildcardValues:
    """Return each value once, in alphabetical order; of two with other weights both stay."""
    pairs = sorted(dict.fromkeys(zip(values.texts, values.weights, strict=True)))
    if not pairs:
        return _NO_VALUES
    texts, weights = zip(*pairs, strict=True)
    return WildcardValues(texts, weights)
