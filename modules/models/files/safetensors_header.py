"""Parses the list of tensors of a .safetensors file within bounds: any other JSON is damage.

A general JSON parser makes 2.4 GB of objects from a list of 99 MB, holds the interpreter meanwhile, and accepts
Infinity, nested values, numbers of thousands of digits and half characters, which fail wherever they are used.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from functools import cached_property, lru_cache
from typing import Any, NamedTuple, cast

from modules.models.files.dtypes import DTYPE_BITS

MAX_TENSORS = 50_000
MAX_METADATA_ITEMS = 10_000
MAX_NAME_CHARS = 500
MAX_DTYPE_CHARS = 20
MAX_DIMENSIONS = 64
MAX_INT64 = (1 << 63) - 1
WHITESPACE = re.compile(r"[ \t\n\r]*")
# A tensor as nearly all files have it: name, dtype, shape, begin and end, and what follows. Whatever it does not match is
# parsed token by token, and refused there.
PLAIN_MEMBER = re.compile(
    r"""\s*"([^"\\\x00-\x1f]+)"\s*:\s*\{
    \s*"dtype"\s*:\s*"(\w{1,20})"\s*,
    \s*"shape"\s*:\s*\[([0-9,\ ]{0,300})\]\s*,
    \s*"data_offsets"\s*:\s*\[\s*(0|[1-9][0-9]{0,17})\s*,\s*(0|[1-9][0-9]{0,17})\s*\]\s*
    \}\s*([,}])""".replace(r"\s", r"[ \t\n\r]"),
    re.VERBOSE | re.ASCII,
)
PLAIN_SIZE = re.compile(r" *(?:0|[1-9][0-9]{0,17}) *")
ENTRY = re.compile(r"\{[^{}]{0,3000}\}")  # the three fields of one tensor


# Files of one trainer's preset differ in their metadata alone: what follows those is parsed once.
MAX_REMEMBERED_CHARS = 500_000  # of a LoRA of SDXL with every layer


class TensorInfo(NamedTuple):
    """Shape and dtype of one tensor; dtypes have safetensors names, such as "F16"."""

    shape: tuple[int, ...]
    dtype: str


class Entry(NamedTuple):
    """A tensor in the list; its offsets count from the end of the list."""

    shape: tuple[int, ...]
    dtype: str
    start: int
    end: int


class TensorList(dict[str, Entry]):
    """The tensors by name; files with equal lists share one, so that nobody may change it."""

    @cached_property
    def infos(self) -> Mapping[str, TensorInfo]:
        """Return shapes and dtypes."""
        return {name: TensorInfo(entry.shape, entry.dtype) for name, entry in self.items()}

    @cached_property
    def starts(self) -> Mapping[str, int]:
        """Return where each tensor's bytes begin."""
        return {name: entry.start for name, entry in self.items()}

    @cached_property
    def end(self) -> int:
        """Return the end of the last tensor's bytes."""
        return max((entry.end for entry in self.values()), default=0)


def parse_list(text: str) -> tuple[TensorList, Mapping[str, str]]:
    """Return the tensors and the metadata.

    Raises:
        ValueError: the text is no list of tensors, or has more of anything than any model.
        RecursionError: an entry is nested.
    """
    cursor = _Cursor(text)
    tensors = TensorList()
    metadata: dict[str, str] | None = None
    for name in cursor.members(tensors):
        if name == "__metadata__" and metadata is None:
            metadata = {} if cursor.take("null") else _parse_metadata(cursor)
            if not tensors and (known := cursor.take_plain_rest()) is not None:
                return known, metadata
            continue
        _check_name(name, tensors)
        tensors[name] = _parse_entry(cursor)
    if not cursor.is_at_end():
        raise ValueError("more than one list")
    return tensors, metadata or {}


@lru_cache(maxsize=16)
def _parse_plain_rest(text: str) -> TensorList | None:
    """Return the tensors of a list without its begin; None if anything in it is to be parsed token by token."""
    cursor = _Cursor(text)
    tensors = TensorList()
    try:
        has_more = cursor.take_plain(tensors)
    except ValueError:  # the parser comes upon it, too
        return None
    return None if has_more or not cursor.is_at_end() else tensors


def _check_name(name: str, tensors: Mapping[str, Entry]) -> None:
    if name in tensors or len(name) > MAX_NAME_CHARS or len(tensors) == MAX_TENSORS:
        raise ValueError("a name twice, or more names than any model has")
    name.encode()  # half of a surrogate pair is no character


def _parse_metadata(cursor: _Cursor) -> dict[str, str]:
    metadata: dict[str, str] = {}
    for key in cursor.members():
        if key in metadata or len(metadata) == MAX_METADATA_ITEMS:
            raise ValueError("a key twice, or more of them than any model has")
        value = cursor.string()
        metadata[key] = value.encode(errors="replace").decode()
    return metadata


def _parse_entry(cursor: _Cursor) -> Entry:
    fields = cursor.entry()
    dtype, shape, offsets = (fields.get(key) for key in ("dtype", "shape", "data_offsets"))
    if not isinstance(dtype, str) or len(dtype) > MAX_DTYPE_CHARS or not dtype.isascii():
        raise ValueError("not a dtype")
    sizes, (start, end) = _check_sizes(shape), _check_sizes(offsets)
    _check_bytes(sizes, dtype, start, end)
    return Entry(sizes, dtype, start, end)


def _check_bytes(sizes: tuple[int, ...], dtype: str, start: int, end: int) -> None:
    bits = DTYPE_BITS.get(dtype)  # an unknown, newer dtype is left to the loader to reject
    if end < start or (bits is not None and (end - start) * 8 != math.prod(sizes) * bits):
        raise ValueError("size does not fit the shape")
    if math.prod(size for size in sizes if size) > MAX_INT64:
        raise ValueError("a shape larger than any")


def _plain_sizes(text: str) -> tuple[int, ...] | None:
    """Return the sizes in a list without its brackets; None for what has to be parsed token by token."""
    if not text:
        return ()
    parts = text.split(",")
    if len(parts) > MAX_DIMENSIONS or not all(map(PLAIN_SIZE.fullmatch, parts)):
        return None
    return tuple(map(int, parts))


def _check_sizes(values: object) -> tuple[int, ...]:
    if not isinstance(values, list) or len(cast("list[Any]", values)) > MAX_DIMENSIONS:
        raise ValueError("not a list of sizes")
    sizes = cast("list[Any]", values)
    if not all(type(size) is int and 0 <= size <= MAX_INT64 for size in sizes):
        raise ValueError("not a size")
    return tuple(sizes)


def _unique_fields(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("a field twice")
    return fields


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no size")


class _Cursor:
    """A position in the text of a list."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._position = 0
        self._decoder = json.JSONDecoder(
            object_pairs_hook=_unique_fields, parse_constant=_refuse_constant
        )

    def members(self, plain: dict[str, Entry] | None = None) -> Iterator[str]:
        """Yield the names in an object; the caller takes the value of each.

        Args:
            plain: Receives the tensors that need no parsing token by token; their names are not yielded.
        """
        self._expect("{")
        if self.take("}"):
            return
        while plain is None or self.take_plain(plain):
            name = self.string()
            self._expect(":")
            yield name
            if self.take("}"):
                return
            self._expect(",")

    def take_plain(self, tensors: dict[str, Entry]) -> bool:
        """Take tensors for as long as they are written plainly; return whether the object goes on."""
        known: dict[tuple[str, str], tuple[tuple[int, ...], int]] = {}  # sizes, and bytes
        text, position = self._text, self._position
        while match := PLAIN_MEMBER.match(text, position):
            name, dtype, shape, start_text, end_text, follows = match.groups()
            start, end = int(start_text), int(end_text)
            sizes, byte_count = known.get((dtype, shape)) or (None, None)
            if end - start != byte_count:
                sizes = _plain_sizes(shape)
                if sizes is None:
                    return True
                _check_bytes(sizes, dtype, start, end)
                known[dtype, shape] = sizes, end - start
            if name == "__metadata__":
                return True
            if name in tensors or len(name) > MAX_NAME_CHARS or len(tensors) == MAX_TENSORS:
                _check_name(name, tensors)
            assert sizes is not None, "checked above, or known"
            tensors[name] = Entry(sizes, dtype, start, end)
            self._position = position = match.end()
            if follows == "}":
                return False
        return True

    def take_plain_rest(self) -> TensorList | None:
        """Return the tensors of the rest of the list if all of it is written plainly, and take none of it otherwise."""
        if len(self._text) - self._position > MAX_REMEMBERED_CHARS or not self.take(","):
            return None
        self._position -= 1
        rest = self._text[self._position + 1 :].rstrip(" \t\n\r")
        return _parse_plain_rest(rest)

    def string(self) -> str:
        """Take a string."""
        self._skip()
        if not self._text.startswith('"', self._position):
            raise ValueError("not a string")
        value, self._position = self._decoder.raw_decode(self._text, self._position)
        return str(value)

    def entry(self) -> dict[str, Any]:
        """Take a short object without objects in it."""
        self._skip()
        match = ENTRY.match(self._text, self._position)
        if match is None:
            raise ValueError("not an entry")
        self._position = match.end()
        return cast("dict[str, Any]", self._decoder.decode(match[0]))

    def take(self, token: str) -> bool:
        """Take a token if it is the next one."""
        self._skip()
        if not self._text.startswith(token, self._position):
            return False
        self._position += len(token)
        return True

    def is_at_end(self) -> bool:
        """Return whether nothing is left."""
        self._skip()
        return self._position == len(self._text)

    def _expect(self, token: str) -> None:
        if not self.take(token):
            raise ValueError(f"{token} is missing")

    def _skip(self) -> None:
        match = WHITESPACE.match(self._text, self._position)
        self._position = match.end() if match else self._position
