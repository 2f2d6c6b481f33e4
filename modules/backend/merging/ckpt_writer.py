"""Writes tensors as torch.save does, one after the other, so that memory holds a part of one; nothing in it runs on load."""

from __future__ import annotations

import io
import math
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import IO, Any

import torch
from torch._utils import (
    _rebuild_tensor_v2,  # pyright: ignore[reportPrivateUsage] - named in every .ckpt
)

from modules.models.files.dtypes import STORAGE_DTYPES
from modules.models.files.header import TensorInfo

_ROOT = "archive"
# torch's readers map the bytes of a tensor into memory from such offsets.
_ALIGNMENT = 64
_LOCAL_HEADER, _ZIP64_FIELD, _FIELD_HEAD = 30, 20, 4
_PADDING_FIELD = b"FB"  # torch's own
# The classes by which pickles name dtypes.
_STORAGES: Mapping[str, type] = {
    dtype: getattr(torch, name)
    for name, dtype in STORAGE_DTYPES.items()
    if name != torch.UntypedStorage.__name__
}


@dataclass(frozen=True)
class _Storage:
    """Where a tensor's bytes are in the file."""

    kind: type
    key: str
    count: int


@dataclass(frozen=True)
class _Entry:
    """Is pickled as a tensor."""

    storage: _Storage
    shape: tuple[int, ...]

    def __reduce__(self) -> tuple[Any, ...]:
        sides = (math.prod(self.shape[place + 1 :]) for place in range(len(self.shape)))
        hooks: OrderedDict[str, Any] = OrderedDict()
        return _rebuild_tensor_v2, (self.storage, 0, self.shape, tuple(sides), False, hooks)


class _Pickler(pickle.Pickler):
    """Pickles storages as references to the file's other members."""

    def persistent_id(self, obj: Any) -> Any:
        if not isinstance(obj, _Storage):
            return None
        return "storage", obj.kind, obj.key, "cpu", obj.count


class CkptWriter:
    """A .ckpt file of tensors in row-major order.

    Args:
        out: The file; it is read by nobody before `finish`.
        tensors: Their shapes and dtypes by name; see `check_ckpt_dtypes`.
    """

    def __init__(self, out: IO[bytes], tensors: Mapping[str, TensorInfo]) -> None:
        self._keys = {name: str(number) for number, name in enumerate(tensors)}
        self._archive = zipfile.ZipFile(out, "w", zipfile.ZIP_STORED)
        entries = {
            name: _Entry(
                _Storage(_STORAGES[info.dtype], self._keys[name], math.prod(info.shape)), info.shape
            )
            for name, info in tensors.items()
        }
        content = io.BytesIO()
        _Pickler(content, protocol=2).dump(entries)
        self._add("data.pkl", content.getvalue())
        self._add("byteorder", b"little")

    @contextmanager
    def open_tensor(self, name: str) -> Generator[IO[bytes]]:
        """Yield what takes the bytes of a tensor; one at a time."""
        with self._open(f"data/{self._keys[name]}") as member:
            yield member

    def finish(self) -> None:
        """Write the end of the file, after all tensors."""
        self._add("version", b"3\n")
        self._archive.close()

    def _add(self, name: str, content: bytes) -> None:
        with self._open(name) as member:
            member.write(content)

    def _open(self, name: str) -> IO[bytes]:
        member = zipfile.ZipInfo(f"{_ROOT}/{name}")
        start = self._archive.start_dir + _LOCAL_HEADER + len(member.filename) + _ZIP64_FIELD
        padding = -(start + _FIELD_HEAD) % _ALIGNMENT
        member.extra = _PADDING_FIELD + padding.to_bytes(2, "little") + b"Z" * padding
        return self._archive.open(member, "w", force_zip64=True)
