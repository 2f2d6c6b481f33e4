"""Lays out a .safetensors file before its first byte is written: the header, and the order of the tensors after it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from modules.models.files.dtypes import DTYPE_BITS, byte_count
from modules.models.files.header import TensorInfo


@dataclass(frozen=True)
class SafetensorsLayout:
    """A file to write: `head`, then the bytes of each tensor in the order of `names`, in row-major order.

    Args:
        head: The length of the header, and the header.
        names: Of the tensors, in the order of their bytes.
        size_bytes: Of the whole file.
    """

    head: bytes
    names: tuple[str, ...]
    size_bytes: int


def make_layout(
    tensors: Mapping[str, TensorInfo], metadata: Mapping[str, str]
) -> SafetensorsLayout:
    """Return the layout of a file with these tensors.

    They keep their order, except that the widest dtypes come first, so that every tensor is aligned to its dtype.

    Raises:
        KeyError: a dtype is not known.
    """
    entries: dict[str, Any] = {"__metadata__": dict(metadata)}
    names = sorted(tensors, key=lambda name: -DTYPE_BITS[tensors[name].dtype])
    end = 0
    for name in names:
        shape, dtype = tensors[name]
        start, end = end, end + byte_count(dtype, math.prod(shape))
        entries[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [start, end]}
    header = json.dumps(entries, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    head = len(header).to_bytes(8, "little") + header
    return SafetensorsLayout(head, tuple(names), len(head) + end)
