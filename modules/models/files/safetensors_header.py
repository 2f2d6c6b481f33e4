"""Parses the list of tensors of a .safetensors file within bounds: any other JSON is damage.

A general JSON parser makes 2.4 GB of objects from a list of 99 MB, holds the interpreter meanwhile, and accepts
Infinity, nested values, numbers of thousands of digits and half characters, which fail wherever they are used.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, cast

from modules.models.files.dtypes import DTYPE_BITS

MAX_TENSORS = 50_000
MAX_METADATA_ITEMS = 10_000
MAX_NAME_CHARS = 500
MAX_DTYPE_CHARS = 20
MAX_DIMENSIONS = 64
MAX_INT64 = (1 << 63) - 1
WHITESPACE = re.compile(r"[ \t\n\r]*")
ENTRY = re.compile(r"\{[^{}]{0,3000}\}")  # the three fields of one tensor


class Entry(NamedTuple):
    """A tensor in the list; its offsets count from the end of the list."""

    shape: tuple[int, ...]
    dtype: str
    start: int
    end: int


def parse_list(text: str) -> tuple[Mapping[str, Entry], Mapping[str, str]]:
    """Return the tensors and the metadata.

    Raises:
        ValueError: the text is no list of tensors, or has more of anything than any model.
        RecursionError: an entry is nested.
    """
    cursor = _Cursor(text)
    tensors: dict[str, Entry] = {}
    metadata: dict[str, str] | None = None
    for name in cursor.members():
        if name == "__metadata__" and metadata is None:
            metadata = {} if cursor.take("null") else _parse_metadata(cursor)
            continue
        if name in tensors or len(name) > MAX_NAME_CHARS or len(tensors) == MAX_TENSORS:
            raise ValueError("a name twice, or more names than any model has")
        name.encode()  # half of a surrogate pair is no character
        tensors[name] = _parse_entry(cursor)
    if not cursor.is_at_end():
        raise ValueError("more than one list")
    return tensors, metadata or {}


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
    bits = DTYPE_BITS.get(dtype)  # an unknown, newer dtype is left to the loader to reject
    if end < start or (bits is not None and (end - start) * 8 != math.prod(sizes) * bits):
        raise ValueError("size does not fit the shape")
    if math.prod(size for size in sizes if size) > MAX_INT64:
        raise ValueError("a shape larger than any")
    return Entry(sizes, dtype, start, end)


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

    def members(self) -> Iterator[str]:
        """Yield the names in an object; the caller takes the value of each."""
        self._expect("{")
        if self.take("}"):
            return
        while True:
            name = self.string()
            self._expect(":")
            yield name
            if self.take("}"):
                return
            self._expect(",")

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
