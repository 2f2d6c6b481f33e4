"""Reads which tensors a .ckpt file contains and where, without importing or calling anything it names.

A PyTorch checkpoint is a pickle: a small program. It is run here by `pickle_machine`, which has no functions:
every global it names becomes a record or an inert value, and a name that no checkpoint needs is refused.
"""

from __future__ import annotations

import io
import math
import pickle
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, cast

from modules.core.errors import BadFile
from modules.models.files.archive import open_archive, open_member
from modules.models.files.dtypes import STORAGE_DTYPES, TORCH_DTYPES, byte_count
from modules.models.files.pickle_machine import (
    BUDGET_PER_TENSOR,
    OPAQUE,
    Function,
    ParameterTable,
    PickleMachine,
    Spend,
)

# The pickles of the largest known checkpoints have 2 MB; far more is a decompression bomb.
MAX_PICKLE_BYTES = 64_000_000
MAX_INNER_TABLES = 4
MAX_TENSORS = 50_000
MAX_ARGUMENTS = 16  # of the functions that build tensors
MAX_DIMENSIONS = 64
MAX_EXPANDED_ITEMS = 1 << 24  # a tensor may repeat the items of its storage, but not without end
MAX_INT64 = (1 << 63) - 1
MAX_VALUES = 1000  # in addition to the tensors
MAGIC_NUMBER = 0x1950A86A20F9469CFC6C  # torch.serialization.MAGIC_NUMBER, before PyTorch 1.6

# Training frameworks store their own objects in checkpoints. They hold no weights and become stubs.
HARMLESS_PACKAGES = frozenset(
    [
        "pytorch_lightning",
        "lightning",
        "lightning_fabric",
        "omegaconf",
        "numpy",
        "argparse",
        "typing",
        "pathlib",
    ]
)
HARMLESS_NAMES = frozenset(
    [
        "builtins.list",
        "builtins.dict",
        "builtins.set",
        "builtins.frozenset",
        "builtins.tuple",
        "builtins.slice",
        "builtins.object",
        "builtins.int",
        "builtins.float",
        "builtins.complex",
        "builtins.bool",
        "builtins.str",
        "builtins.bytes",
        "builtins.bytearray",
        "collections.defaultdict",
        "collections.Counter",
        "copyreg._reconstructor",
        "_codecs.encode",
        "torch.device",
        "torch.nn.parameter.Parameter",
    ]
)
PlainValue = str | int | None  # truth values are whole numbers
PYTHON_2_NAMES = {"__builtin__": "builtins", "copy_reg": "copyreg"}

# Whatever a damaged file can raise where it is read.
DAMAGE = (
    pickle.UnpicklingError,
    EOFError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    MemoryError,
    RuntimeError,
    zlib.error,
)


class StorageRecord(NamedTuple):
    """One contiguous block of numbers in the file; several tensors may share it."""

    key: str
    dtype: str
    item_count: int

    @property
    def byte_count(self) -> int:
        """Its size in the file, uncompressed."""
        return byte_count(self.dtype, self.item_count)


class TensorRecord(NamedTuple):
    """A tensor as a view of its storage; offset and strides count items of the tensor's dtype."""

    storage: StorageRecord
    dtype: str
    storage_offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


@dataclass(frozen=True)
class CkptContents:
    """The tensors of a .ckpt and where their storages begin.

    Args:
        tensors: By name, without any enclosing `state_dict`.
        storages: By key, including those that no listed tensor uses.
        values: Texts, whole numbers and truth values at the top level, such as a name and a number of steps.
        archive_prefix: Common prefix of the member names of a zip file.
        storage_keys: In file order, for the legacy format (before PyTorch 1.6).
        storages_offset: Byte position of the first storage in the legacy format.
    """

    tensors: Mapping[str, TensorRecord]
    storages: Mapping[str, StorageRecord]
    values: Mapping[str, PlainValue] = field(default_factory=dict[str, PlainValue])
    archive_prefix: str = ""
    storage_keys: tuple[str, ...] = ()
    storages_offset: int = 0


def read_ckpt(path: Path, *, is_zip: bool) -> CkptContents:
    """Return the tensors and storages of a .ckpt.

    Raises:
        BadFile: the file is damaged, not a PyTorch checkpoint, or names a function or class that none needs.
    """
    try:
        return _read_zip(path) if is_zip else _read_legacy(path)
    except zipfile.BadZipFile as error:
        text = f"'{path.name}' is incomplete: the end of the archive is missing."
        raise BadFile(text, "Download it again.") from error
    except _RefusedGlobal as error:
        text = f"'{path.name}' is not safe: it asks for {error}, which no checkpoint needs."
        raise BadFile(
            text, "It was not run. Get the model from another source, preferably as .safetensors."
        ) from error
    except DAMAGE as error:
        text = f"'{path.name}' is damaged or not a PyTorch checkpoint."
        raise BadFile(text, "Download it again.") from error


class _RefusedGlobal(Exception):
    """A global that no checkpoint needs; its name is the message."""


class _StorageType(NamedTuple):
    dtype: str


class _Dtype(NamedTuple):
    name: str


def _find_global(module_name: str, global_name: str) -> Any:
    """Return the substitute for a global; never the global itself."""
    module = PYTHON_2_NAMES.get(module_name, module_name)
    full_name = f"{module}.{global_name}"
    if full_name in FUNCTIONS:
        return FUNCTIONS[full_name]
    if module in ("torch", "torch.storage", "torch.cuda") and global_name in STORAGE_DTYPES:
        return _StorageType(STORAGE_DTYPES[global_name])
    if module == "torch" and global_name in TORCH_DTYPES:
        return _Dtype(TORCH_DTYPES[global_name])
    if full_name in HARMLESS_NAMES or module.split(".")[0] in HARMLESS_PACKAGES:
        return OPAQUE
    raise _RefusedGlobal(full_name)


class _Reader:
    """Reads the pickles of one file and keeps the storages that they name."""

    def __init__(self, file: BinaryIO, file_bytes: int) -> None:
        self.storages: dict[str, StorageRecord] = {}
        machine = PickleMachine(
            file, _find_global, self._load_storage, MAX_PICKLE_BYTES, file_bytes
        )
        self.load = machine.load

    def _load_storage(self, pid: Any) -> StorageRecord:  # pid: whatever the pickle holds
        if not isinstance(pid, tuple) or len(cast("tuple[Any, ...]", pid)) not in (5, 6):
            raise pickle.UnpicklingError("not a storage")
        kind, storage_type, key, _location, count, *view = cast("tuple[Any, ...]", pid)
        if (
            kind != "storage"
            or not isinstance(storage_type, _StorageType)
            or view not in ([], [None])
        ):
            raise pickle.UnpicklingError("not a storage")
        if not isinstance(key, str) or not _is_size(count):
            raise pickle.UnpicklingError("not a storage")
        record = StorageRecord(key, storage_type.dtype, count)
        return self.storages.setdefault(key, record)


def _rebuild_tensor(args: tuple[Any, ...], _spend: Spend) -> TensorRecord:
    if not 4 <= len(args) <= MAX_ARGUMENTS:
        raise pickle.UnpicklingError("not a tensor")
    storage, offset, shape, stride, *rest = args
    if not isinstance(storage, StorageRecord):
        raise pickle.UnpicklingError("a tensor without a storage")
    dtype = next((value.name for value in rest if isinstance(value, _Dtype)), storage.dtype)
    shape, stride, (offset,) = _check_sizes(shape), _check_sizes(stride), _check_sizes((offset,))
    last = offset + sum((size - 1) * step for size, step in zip(shape, stride, strict=True))
    if 0 not in shape and byte_count(dtype, last + 1) > storage.byte_count:
        raise pickle.UnpicklingError("a tensor larger than its storage")
    if math.prod(shape) > max(storage.byte_count, MAX_EXPANDED_ITEMS):
        raise pickle.UnpicklingError("a tensor that repeats its storage without end")
    return TensorRecord(storage, dtype, offset, shape, stride)


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_INT64


def _check_sizes(values: Any) -> tuple[int, ...]:
    if not isinstance(values, tuple):
        raise pickle.UnpicklingError("not a shape")
    sizes = cast("tuple[Any, ...]", values)
    if len(sizes) > MAX_DIMENSIONS or not all(_is_size(size) for size in sizes):
        raise pickle.UnpicklingError("not a shape")
    if math.prod(size for size in sizes if size) > MAX_INT64:
        raise pickle.UnpicklingError("a shape larger than any")
    return sizes


def _rebuild_parameter(args: tuple[Any, ...], _spend: Spend) -> Any:
    return args[0]


def _build_size(args: tuple[Any, ...], _spend: Spend) -> tuple[Any, ...]:
    (values,) = args
    if not isinstance(values, (list, tuple)) or len(cast("list[Any]", values)) > MAX_DIMENSIONS:
        raise pickle.UnpicklingError("not a shape")
    return tuple(cast("list[Any]", values))


def _build_table(args: tuple[Any, ...], spend: Spend) -> dict[str, Any]:
    """Return an OrderedDict; Python 2 writes its items as a list of pairs."""
    if not args:
        return {}
    if not isinstance(args[0], list):
        raise pickle.UnpicklingError("not a list of pairs")
    pairs = cast("list[Any]", args[0])
    spend(len(pairs))
    return {key: value for key, value in pairs if isinstance(key, str)}


def _build_parameter_table(_args: tuple[Any, ...], _spend: Spend) -> ParameterTable:
    return ParameterTable()


FUNCTIONS = {
    "collections.OrderedDict": Function(_build_table),
    "torch.Size": Function(_build_size),
    "torch._utils._rebuild_tensor": Function(_rebuild_tensor, BUDGET_PER_TENSOR),
    "torch._utils._rebuild_tensor_v2": Function(_rebuild_tensor, BUDGET_PER_TENSOR),
    "torch._utils._rebuild_tensor_v3": Function(_rebuild_tensor, BUDGET_PER_TENSOR),
    "torch.nn.modules.container.ParameterDict": Function(_build_parameter_table),
    "torch._utils._rebuild_parameter": Function(_rebuild_parameter),
    "torch._utils._rebuild_parameter_with_state": Function(_rebuild_parameter),
}


def _read_zip(path: Path) -> CkptContents:
    with open_archive(path) as archive:
        pickles = [name for name in archive.namelist() if name.split("/", 1)[-1] == "data.pkl"]
        if len(pickles) != 1:
            raise BadFile(f"'{path.name}' is a zip archive, but not a PyTorch checkpoint.")
        with open_member(archive, archive.getinfo(pickles[0]), MAX_PICKLE_BYTES) as member:
            reader = _Reader(io.BufferedReader(cast("io.RawIOBase", member)), path.stat().st_size)
            content = reader.load()
    return CkptContents(
        _flatten(content),
        reader.storages,
        _plain_values(content),
        archive_prefix=pickles[0].removesuffix("data.pkl"),
    )


def _read_legacy(path: Path) -> CkptContents:
    with path.open("rb") as file:
        reader = _Reader(file, path.stat().st_size)
        magic, _protocol, system = (reader.load() for _ in range(3))
        if magic != MAGIC_NUMBER or not isinstance(system, dict):
            raise pickle.UnpicklingError("not written by PyTorch")
        if cast("dict[str, Any]", system).get("little_endian", True) is not True:
            raise pickle.UnpicklingError("not written on a usual machine")
        content, keys = reader.load(), reader.load()
        if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):  # pyright: ignore[reportUnknownVariableType]
            raise pickle.UnpicklingError("no list of storages")
        storage_keys = tuple(cast("list[str]", keys))
        return CkptContents(
            _flatten(content),
            reader.storages,
            _plain_values(content),
            storage_keys=storage_keys,
            storages_offset=file.tell(),
        )


def _flatten(content: Any) -> dict[str, TensorRecord]:
    """Return the tensors at the top level or in `state_dict`; those of a nested dict as "outer.inner"."""
    for _ in range(3):  # some merged files wrap a state_dict in another
        if not isinstance(content, dict):
            raise pickle.UnpicklingError("no table of tensors")
        if "state_dict" not in content:
            break
        content = cast("dict[str, Any]", content)["state_dict"]
    if not isinstance(content, dict):
        raise pickle.UnpicklingError("no table of tensors")
    tensors: dict[str, TensorRecord] = {}
    for name, tensor in _iterate_tensors(cast("dict[str, Any]", content)):
        tensors[name] = tensor
        if len(tensors) > MAX_TENSORS:
            raise pickle.UnpicklingError("more tensors than any model")
    return tensors


def _plain_values(content: Any) -> dict[str, PlainValue]:
    """Return the values at the top level that are no tensors and hold none."""
    if not isinstance(content, dict):
        return {}
    items = islice(cast("dict[str, Any]", content).items(), MAX_VALUES)
    return {name: value for name, value in items if type(value) in (str, int, bool, type(None))}


def _iterate_tensors(table: dict[str, Any]) -> Iterator[tuple[str, TensorRecord]]:
    visited: set[int] = set()  # a table of many names would have the square of its tensors
    for name, value in table.items():
        if isinstance(value, TensorRecord):
            yield name, value
            continue
        for prefix, inner in _inner_tables(name, value):
            if id(inner) not in visited:
                visited.add(id(inner))
                yield from (
                    (f"{prefix}.{key}", v)
                    for key, v in inner.items()
                    if isinstance(v, TensorRecord)
                )


def _inner_tables(name: str, value: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the tables in a value of the outer one; a hypernetwork has two in a tuple for each width."""
    if isinstance(value, dict):
        yield name, cast("dict[str, Any]", value)
        return
    items = cast("list[Any]", value) if isinstance(value, (list, tuple)) else []
    for number, item in enumerate(items[:MAX_INNER_TABLES]):
        if isinstance(item, dict):
            yield f"{name}.{number}", cast("dict[str, Any]", item)
