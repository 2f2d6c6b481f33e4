"""Writes small .tflite files: tables of TensorFlow Lite's schema, by the numbers of their fields.

content = write_model([tensor((1, 4, 4, 1)), tensor((1,), np.float32([3]))], [Step(3, (0, 1), (2,), {1: 2})], (0,), (2,))
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

# Of the operators with options: the number of the table of their options.
OPTIONS = {0: 11, 2: 10, 3: 1, 4: 2, 5: 94, 9: 8, 17: 5, 22: 17, 23: 15, 40: 27}
CODES = {np.dtype("<f4"): 0, np.dtype("<f2"): 1, np.dtype("<i4"): 2}


@dataclass(frozen=True)
class Step:
    """An operator: its code, inputs, outputs, and the integers among its options by their fields."""

    code: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Mapping[int, int] = field(default_factory=dict)
    bytes_of_options: Mapping[int, int] = field(default_factory=dict)


@dataclass(frozen=True)
class TensorSpec:
    """A tensor: its shape, its numbers if it has some, and its sparsity as a table."""

    shape: tuple[int, ...]
    values: Any = None
    sparsity: Mapping[int, Any] | None = None


def tensor(shape: Sequence[int], values: Any = None, sparsity: Any = None) -> TensorSpec:
    return TensorSpec(tuple(shape), values, sparsity)


def csr(segments: Sequence[int], indices: Sequence[int]) -> dict[int, Any]:
    """Return the table of a sparse dimension; its numbers have 16 and 8 bits."""
    return {
        0: np.int8(1),
        2: np.uint8(2),
        3: {0: np.array(segments, "<u2")},
        4: np.uint8(3),
        5: {0: np.array(indices, "u1")},
    }


def dense(size: int) -> dict[int, Any]:
    return {0: np.int8(0), 1: size}


def write_model(
    tensors: Sequence[TensorSpec],
    steps: Sequence[Step],
    inputs: tuple[int, ...],
    outputs: tuple[int, ...],
) -> bytes:
    codes = sorted({step.code for step in steps})
    operators = [
        {
            0: codes.index(step.code),
            1: np.array(step.inputs, "<i4"),
            2: np.array(step.outputs, "<i4"),
            3: np.uint8(OPTIONS.get(step.code, 0)),
            4: {
                **dict(step.options),
                **{key: np.int8(value) for key, value in step.bytes_of_options.items()},
            },
        }
        for step in steps
    ]
    buffers: list[dict[int, Any]] = [{}]
    rows: list[dict[int, Any]] = []
    for number, spec in enumerate(tensors):
        row: dict[int, Any] = {0: np.array(spec.shape, "<i4"), 3: f"t{number}".encode(), 2: 0}
        row[4] = {}
        if spec.values is not None:
            row[2] = len(buffers)
            row[1] = np.int8(CODES[spec.values.dtype])
            buffers.append({0: spec.values.tobytes()})
        if spec.sparsity is not None:
            row[6] = spec.sparsity
        rows.append(row)
    graph = {
        4: b"main",
        0: rows,
        1: np.array(inputs, "<i4"),
        2: np.array(outputs, "<i4"),
        3: operators,
    }
    model = {
        0: 3,
        1: [{0: np.int8(min(code, 127)), 3: code} for code in codes],
        2: [graph],
        3: b"a small network",
        4: buffers,
    }
    writer = _Writer()
    root = writer.write(model)
    struct.pack_into("<I4s", writer.data, 0, root, b"TFL3")
    return bytes(writer.data)


class _Writer:
    def __init__(self) -> None:
        self.data = bytearray(8)

    def write(self, value: Any) -> int:
        """Write a table, a list of tables, an array, or bytes, and return where it is."""
        self.data += bytes(-len(self.data) % 4)
        if isinstance(value, Mapping):
            return self._table(value)
        place = len(self.data)
        if isinstance(value, list):
            self.data += struct.pack("<I", len(value)) + bytes(4 * len(value))
            for index, item in enumerate(value):
                self._point(place + 4 + 4 * index, item)
            return place
        if isinstance(value, bytes):  # of a buffer aligned to 16, of a name with a zero at its end
            self.data += bytes(-(place + 4) % 16)
            place, content = len(self.data), value + b"\0"
        else:
            content = value.tobytes()
        self.data += struct.pack("<I", len(value)) + content
        return place

    def _table(self, fields: Mapping[int, Any]) -> int:
        count = max(fields, default=-1) + 1
        layout = len(self.data)
        offsets = [0] * count
        for slot, key in enumerate(fields):
            offsets[key] = 4 + 4 * slot
        sizes = struct.pack("<HH", 4 + 2 * count, 4 + 4 * len(fields))
        self.data += sizes + struct.pack(f"<{count}H", *offsets)
        self.data += bytes(-len(self.data) % 4)
        table = len(self.data)
        self.data += struct.pack("<i", table - layout) + bytes(4 * len(fields))
        for key, value in fields.items():
            place = table + offsets[key]
            if isinstance(value, np.int8 | np.uint8):
                self.data[place] = int(value) & 255
            elif isinstance(value, int):
                struct.pack_into("<i", self.data, place, value)
            else:
                self._point(place, value)
        return table

    def _point(self, place: int, value: Any) -> None:
        struct.pack_into("<I", self.data, place, self.write(value) - place)
