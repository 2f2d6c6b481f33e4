"""Conditions on the tensor names and shapes of a model file, and the row of a table that a file matches."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from modules.models.files.header import Header, TensorInfo
from modules.models.ldm.keys import find_key


@dataclass(frozen=True)
class KeyCondition:
    """A condition on a file's tensor names and shapes; every part of it must hold.

    Args:
        has: Names that must exist; a "*" at the end or the start matches any text.
        lacks: Names that must not exist, with the same wildcard.
        sizes: (Name, axis) to the required size of that axis.
        ndims: Name to the number of axes: a linear layer has 2, a convolution 4.
    """

    has: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()
    sizes: Mapping[tuple[str, int], int] = field(default_factory=dict[tuple[str, int], int])
    ndims: Mapping[str, int] = field(default_factory=dict[str, int])

    def matches(self, header: Header) -> bool:
        """Return whether a file's tensors meet the condition."""
        # Loops, not generators: a file is compared with hundreds of conditions, and most fail at their first name.
        for name in self.has:
            if not _exists(header, name):
                return False
        for name in self.lacks:
            if _exists(header, name):
                return False
        for (name, axis), size in self.sizes.items():
            if _size_of(header.tensors, name, axis) != size:
                return False
        for name, count in self.ndims.items():
            if len(_shape_of(header.tensors, name)) != count:
                return False
        return True


class DetectedRow(Protocol):
    """A row of a table whose conditions match the files that it describes."""

    @property
    def name(self) -> str:
        """Return its identity."""
        ...

    @property
    def precedes(self) -> tuple[str, ...]:
        """Return the names of the rows that a file is only of when this row does not match."""
        ...


Row = TypeVar("Row", bound=DetectedRow)


def first_row(matching: Iterable[Row]) -> Row | None:
    """Return the row of a file: the first one in the table that no other matching row precedes."""
    rows = list(matching)
    preceded = {name for row in rows for name in row.precedes}
    return next((row for row in rows if row.name not in preceded), None)


def _exists(header: Header, name: str) -> bool:
    if name.endswith("*"):
        return header.names.any_starts_with(name[:-1])
    if name.startswith("*"):
        return header.names.any_ends_with(name[1:])
    return find_key(header.tensors, name) is not None


def _size_of(tensors: Mapping[str, TensorInfo], name: str, axis: int) -> int | None:
    shape = _shape_of(tensors, name)
    return shape[axis] if axis < len(shape) else None


def _shape_of(tensors: Mapping[str, TensorInfo], name: str) -> tuple[int, ...]:
    actual = find_key(tensors, name)
    return tensors[actual].shape if actual else ()
