"""Reads the networks of .tflite files: operators in order, and the numbers that they use, sparse ones made dense.

Such a file is a FlatBuffer (TensorFlow Lite's schema.fbs): tables of fields, each an offset from its place.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from modules.core.errors import BadFile

_MAGIC = b"TFL3"  # at 4
_OPERATOR_CODES, _SUBGRAPHS, _BUFFERS = 1, 2, 4  # fields of a model
_TENSORS, _GRAPH_INPUTS, _GRAPH_OUTPUTS, _OPERATORS = range(4)  # of a subgraph
_SHAPE, _TYPE, _BUFFER, _NAME = range(4)  # of a tensor
_SPARSITY = 6  # likewise
_OPCODE, _INPUTS, _OUTPUTS = range(3)  # of an operator
_OPTIONS = 4  # likewise
_BUILTIN_CODE, _NEW_BUILTIN_CODE = 0, 3  # of an operator code
_ORDER, _BLOCKS, _DIMENSIONS = range(3)  # of the sparsity
_FORMAT, _DENSE_SIZE, _SEGMENTS_TYPE, _SEGMENTS, _INDICES_TYPE, _INDICES = range(6)
_DTYPES = {0: "<f4", 1: "<f2", 2: "<i4", 3: "u1", 9: "i1"}  # of a tensor
_INDEX_DTYPES = {1: "<i4", 2: "<u2", 3: "u1"}
_MAX_ITEMS = 2**26
_ACTIVATIONS = (0, 1, 3)  # none, ReLU, ReLU6
_CONVOLUTION: Mapping[str, tuple[int, str]] = {
    "is_valid": (0, "b"),
    "stride_x": (1, "<i"),
    "stride_y": (2, "<i"),
}
# Operators that the networks of MediaPipe have, by their numbers in the schema, and the options that count of each: their
# fields, and how they are stored.
_KINDS: Mapping[int, tuple[str, Mapping[str, tuple[int, str]]]] = {
    0: ("add", {"activation": (0, "b")}),
    2: ("concatenate", {"axis": (0, "<i")}),
    3: ("convolution", {**_CONVOLUTION, "activation": (3, "b")}),
    4: ("depthwise convolution", {**_CONVOLUTION, "activation": (4, "b")}),
    5: ("depth to space", {"block": (0, "<i")}),
    6: ("dequantize", {}),
    9: ("fully connected", {"activation": (0, "b")}),
    14: ("sigmoid", {}),
    17: ("max pool", {**_CONVOLUTION, "width": (3, "<i"), "height": (4, "<i")}),
    19: ("relu", {}),
    22: ("reshape", {}),
    23: ("resize", {"aligns_corners": (2, "b"), "has_half_pixels": (3, "b")}),
    34: ("pad", {}),
    40: ("mean", {}),
    54: ("prelu", {}),
    124: ("densify", {}),
}

Numbers = NDArray[Any]  # of the dtype in the file


@dataclass(frozen=True)
class Operator:
    """One step of a network.

    Args:
        kind: What it does, such as "convolution".
        inputs: Numbers of tensors; -1 for one that is left out.
        outputs: Likewise.
        options: By name.
    """

    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Mapping[str, int]


@dataclass(frozen=True)
class Graph:
    """A network. Its pictures are [1, height, width, channels].

    Args:
        shapes: Of each tensor.
        constants: The numbers of those tensors that are in the file.
        operators: In order.
        inputs: Numbers of the tensors that it is given.
        outputs: By name the numbers of the tensors that are its results.
    """

    shapes: tuple[tuple[int, ...], ...]
    constants: Mapping[int, Numbers]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: Mapping[str, int]


def read_tflite(content: bytes, name: str) -> Graph:
    """Return the network of a .tflite file.

    Args:
        content: Of the file.
        name: Of the file, for messages.

    Raises:
        BadFile: it is damaged, or has an operator that is not known.
    """
    if content[4:8] != _MAGIC:
        raise BadFile(f"'{name}' is no .tflite file.", "Download it again.")
    try:
        return _Flat(content).read()
    except (struct.error, LookupError, ValueError, ArithmeticError, MemoryError) as error:
        raise BadFile(
            f"'{name}' is damaged, or of another kind: {error}.", "Download it again."
        ) from error


class _Flat:
    """The bytes of a FlatBuffer; a table is the place where it begins.

    Args:
        data: The bytes.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data

    def read(self) -> Graph:
        model = self._u32(0)
        codes = [self._code(table) for table in self._tables(model, _OPERATOR_CODES)]
        buffers = list(self._tables(model, _BUFFERS))
        subgraph, *_ = self._tables(model, _SUBGRAPHS)
        tensors = list(self._tables(subgraph, _TENSORS))
        shapes = tuple(self._integers(tensor, _SHAPE) for tensor in tensors)
        constants: dict[int, Numbers] = {}
        for number, tensor in enumerate(tensors):
            place = self._field(buffers[self._number(tensor, _BUFFER, "<I")], 0)
            if place:
                constants[number] = self._values(tensor, shapes[number], self._bytes(place))
        outputs = self._integers(subgraph, _GRAPH_OUTPUTS)
        return Graph(
            shapes,
            constants,
            tuple(self._operator(table, codes) for table in self._tables(subgraph, _OPERATORS)),
            self._integers(subgraph, _GRAPH_INPUTS),
            {self._text(tensors[number], _NAME): number for number in outputs},
        )

    def _operator(self, table: int, codes: list[int]) -> Operator:
        code = codes[self._number(table, _OPCODE, "<I")]
        if code not in _KINDS:
            raise ValueError(f"the operator {code} is not known")
        kind, fields = _KINDS[code]
        place = self._field(table, _OPTIONS)
        options = self._follow(place) if place else 0
        values = {
            name: self._number(options, field, code) if options else 0
            for name, (field, code) in fields.items()
        }
        if values.get("activation", 0) not in _ACTIVATIONS:
            raise ValueError(f"the activation {values['activation']} is not known")
        inputs, outputs = self._integers(table, _INPUTS), self._integers(table, _OUTPUTS)
        return Operator(kind, inputs, outputs, values)

    def _values(self, tensor: int, shape: tuple[int, ...], content: bytes) -> Numbers:
        dtype = _DTYPES[self._number(tensor, _TYPE, "b")]
        values: Numbers = np.frombuffer(content, dtype)
        if self._field(tensor, _SPARSITY):
            return self._dense(tensor, shape, values)
        return np.reshape(values, shape)

    def _dense(self, tensor: int, shape: tuple[int, ...], values: Numbers) -> Numbers:
        """Return the dense values of a sparse tensor."""
        sparsity = self._follow(self._field(tensor, _SPARSITY))
        order = self._integers(sparsity, _ORDER)
        rows = np.zeros(1, np.int64)  # where each entry is in the arrays of its level
        places = np.zeros((len(order), 1), np.int64)
        block_sizes: dict[int, int] = {}
        for level, dimension in enumerate(self._tables(sparsity, _DIMENSIONS)):
            counts, indices, rows = self._expand(dimension, rows)
            places = places.repeat(counts, axis=1)
            places[order[level]] = indices
            block_sizes[order[level]] = self._number(dimension, _DENSE_SIZE, "<i")
        for number, axis in enumerate(self._integers(sparsity, _BLOCKS), len(shape)):
            places[axis] = places[axis] * block_sizes[number] + places[number]
        _check_count(math.prod(shape))
        dense = np.zeros(shape, values.dtype)
        dense[tuple(places[: len(shape)])] = values[rows]
        return dense

    def _expand(self, dimension: int, rows: Numbers) -> tuple[Numbers, Numbers, Numbers]:
        """Return for each row how many entries it has in a dimension, then of all entries their index and their row."""
        if not self._number(dimension, _FORMAT, "b"):
            size = self._number(dimension, _DENSE_SIZE, "<i")
            _check_count(size * len(rows))
            indices = np.tile(np.arange(size), len(rows))
            return np.full(len(rows), size), indices, rows.repeat(size) * size + indices
        starts = self._indices(dimension, _SEGMENTS_TYPE, _SEGMENTS)
        all_indices = self._indices(dimension, _INDICES_TYPE, _INDICES)
        counts = starts[rows + 1] - starts[rows]
        _check_count(int(counts.sum()))
        before = counts.cumsum() - counts
        entries: Numbers = np.arange(int(counts.sum())) + (starts[rows] - before).repeat(counts)
        return counts, all_indices[entries], entries

    def _indices(self, dimension: int, kind: int, field: int) -> Numbers:
        dtype = _INDEX_DTYPES[self._number(dimension, kind, "B")]
        table = self._follow(self._field(dimension, field))
        return self._vector(self._field(table, 0), dtype).astype(np.int64)

    def _code(self, table: int) -> int:
        return max(
            self._number(table, _BUILTIN_CODE, "b"), self._number(table, _NEW_BUILTIN_CODE, "<i")
        )

    def _u32(self, place: int) -> int:
        return struct.unpack_from("<I", self._data, place)[0]

    def _follow(self, place: int) -> int:
        return place + self._u32(place)

    def _field(self, table: int, field: int) -> int:
        """Return the place of a field, 0 where the table has none."""
        layout = table - struct.unpack_from("<i", self._data, table)[0]
        size = struct.unpack_from("<H", self._data, layout)[0]
        at = 4 + 2 * field
        offset = struct.unpack_from("<H", self._data, layout + at)[0] if at < size else 0
        return table + offset if offset else 0

    def _number(self, table: int, field: int, code: str) -> int:
        place = self._field(table, field)
        return struct.unpack_from(code, self._data, place)[0] if place else 0

    def _vector(self, place: int, dtype: str) -> Numbers:
        start = self._follow(place)
        return np.frombuffer(self._data, dtype, self._u32(start), start + 4)

    def _integers(self, table: int, field: int) -> tuple[int, ...]:
        place = self._field(table, field)
        return tuple(self._vector(place, "<i4").tolist()) if place else ()

    def _text(self, table: int, field: int) -> str:
        return self._bytes(self._field(table, field)).decode(errors="replace")

    def _bytes(self, place: int) -> bytes:
        start = self._follow(place)
        return self._data[start + 4 : start + 4 + self._u32(start)]

    def _tables(self, table: int, field: int) -> Iterator[int]:
        start = self._follow(self._field(table, field))
        for index in range(self._u32(start)):
            yield self._follow(start + 4 + 4 * index)


def _check_count(count: int) -> None:
    """Check how many numbers a tensor has, before memory is taken for them.

    Raises:
        ValueError: more than any tensor of such a network has.
    """
    if count > _MAX_ITEMS:
        raise ValueError("a tensor is larger than any of such a network")
