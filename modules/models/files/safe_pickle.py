"""Reads which tensors a .ckpt file contains and where, without importing or calling anything it names.

A PyTorch checkpoint is a pickle: a small program. It is run here by an unpickler that has no functions:
every global it names becomes a record or an inert stub, and a name that no checkpoint needs is refused.
"""

from __future__ import annotations

import pickle
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

from modules.core.errors import BadFile
from modules.models.files.dtypes import STORAGE_DTYPES, TORCH_DTYPES, byte_count

# The pickles of the largest known checkpoints have 2 MB; far more is a decompression bomb.
MAX_PICKLE_BYTES = 64_000_000
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
        "torch.nn.modules.container.ParameterDict",
        "torch.nn.parameter.Parameter",
    ]
)
PYTHON_2_NAMES = {"__builtin__": "builtins", "copy_reg": "copyreg"}

# Whatever a damaged pickle can raise in the unpickler or in the stubs.
UNPICKLING_ERRORS = (
    pickle.UnpicklingError,
    EOFError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    OverflowError,
    MemoryError,
    RuntimeError,
    zlib.error,
)


# The records are named tuples because a pickle can write into a dataclass, frozen or not.
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
        archive_prefix: Common prefix of the member names of a zip file.
        storage_keys: In file order, for the legacy format (before PyTorch 1.6).
        storages_offset: Byte position of the first storage in the legacy format.
    """

    tensors: Mapping[str, TensorRecord]
    storages: Mapping[str, StorageRecord]
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
    except UNPICKLING_ERRORS as error:
        text = f"'{path.name}' is damaged or not a PyTorch checkpoint."
        raise BadFile(text, "Download it again.") from error


class _RefusedGlobal(Exception):
    """A global that no checkpoint needs; its name is the message."""


class _Inert(dict[Any, Any]):
    """A stub for an object of any class: accepts any state and does nothing."""

    def __new__(cls, *_args: object, **_kwargs: object) -> _Inert:
        return dict.__new__(cls)

    def __init__(self, *_args: object, **_kwargs: object) -> None:
        super().__init__()

    def __hash__(self) -> int:  # pyright: ignore[reportIncompatibleVariableOverride]
        return id(self)

    def __setstate__(self, _state: object) -> None: ...

    def append(self, _value: object) -> None:
        """Accept an item of a list."""

    def extend(self, _values: object) -> None:
        """Accept items of a list."""

    def add(self, _value: object) -> None:
        """Accept an item of a set."""


class _Mapping(dict[Any, Any]):
    """A stub for an OrderedDict that keeps its items."""

    def __setstate__(self, _state: object) -> None: ...


class _StorageType(NamedTuple):
    dtype: str


class _Dtype(NamedTuple):
    name: str


class _Unpickler(pickle.Unpickler):
    """Runs a pickle; each of its globals becomes a record or a stub, or is refused."""

    def __init__(self, file: _BoundedReader) -> None:
        super().__init__(file)
        self.storages: dict[str, StorageRecord] = {}

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        """Return the substitute for a global; never the global itself."""
        module = PYTHON_2_NAMES.get(module_name, module_name)
        full_name = f"{module}.{global_name}"
        if full_name == "collections.OrderedDict":
            return _Mapping
        if full_name == "torch.Size":
            return tuple
        if module == "torch._utils" and global_name in REBUILDERS:
            return REBUILDERS[global_name]
        if module in ("torch", "torch.storage", "torch.cuda") and global_name in STORAGE_DTYPES:
            return _StorageType(STORAGE_DTYPES[global_name])
        if module == "torch" and global_name in TORCH_DTYPES:
            return _Dtype(TORCH_DTYPES[global_name])
        if full_name in HARMLESS_NAMES or module.split(".")[0] in HARMLESS_PACKAGES:
            return type("_Inert", (_Inert,), {})  # a class per use: a pickle may write to it
        raise _RefusedGlobal(full_name)

    def persistent_load(self, pid: Any) -> StorageRecord:  # pid: whatever the pickle holds
        """Return the record of a storage."""
        kind, storage_type, key, _location, count, *view = pid
        if kind != "storage" or not isinstance(storage_type, _StorageType) or any(view):
            raise pickle.UnpicklingError("not a storage")
        if not isinstance(key, str) or not isinstance(count, int) or count < 0:
            raise pickle.UnpicklingError("not a storage")
        record = StorageRecord(key, storage_type.dtype, count)
        return self.storages.setdefault(key, record)


class _Rebuilder:
    """Replaces a function of torch._utils; a pickle can call it but not modify it."""

    __slots__ = ("_build",)

    def __init__(self, build: Callable[..., Any]) -> None:
        self._build = build

    def __call__(self, *args: Any) -> Any:
        return self._build(*args)

    def __setstate__(self, _state: object) -> None: ...


def _rebuild_tensor(storage: Any, offset: Any, shape: Any, stride: Any, *rest: Any) -> TensorRecord:
    if not isinstance(storage, StorageRecord):
        raise pickle.UnpicklingError("a tensor without a storage")
    dtype = next((value.name for value in rest if isinstance(value, _Dtype)), storage.dtype)
    shape, stride, (offset,) = _check_sizes(shape), _check_sizes(stride), _check_sizes((offset,))
    last = offset + sum((size - 1) * step for size, step in zip(shape, stride, strict=True))
    if 0 not in shape and byte_count(dtype, last + 1) > storage.byte_count:
        raise pickle.UnpicklingError("a tensor larger than its storage")
    return TensorRecord(storage, dtype, offset, shape, stride)


def _check_sizes(values: Any) -> tuple[int, ...]:
    if not isinstance(values, tuple):
        raise pickle.UnpicklingError("not a shape")
    sizes = cast("tuple[Any, ...]", values)
    if not all(isinstance(size, int) and size >= 0 for size in sizes):
        raise pickle.UnpicklingError("not a shape")
    return sizes


def _rebuild_parameter(data: Any, *_rest: Any) -> Any:
    return data


REBUILDERS = {
    "_rebuild_tensor": _Rebuilder(_rebuild_tensor),
    "_rebuild_tensor_v2": _Rebuilder(_rebuild_tensor),
    "_rebuild_tensor_v3": _Rebuilder(_rebuild_tensor),
    "_rebuild_parameter": _Rebuilder(_rebuild_parameter),
    "_rebuild_parameter_with_state": _Rebuilder(_rebuild_parameter),
}


class _BoundedReader:
    """Reads at most `limit` bytes of a file, so that no length stored in it can exhaust the memory."""

    def __init__(self, file: IO[bytes], limit: int) -> None:
        self._file = file
        self._remaining = limit

    def read(self, count: int = -1) -> bytes:
        """Return the next bytes."""
        if not 0 <= count <= self._remaining:
            raise pickle.UnpicklingError("longer than any list of tensors")
        self._remaining -= count
        return self._file.read(count)

    def readline(self) -> bytes:
        """Return the next line."""
        line = self._file.readline(self._remaining)
        self._remaining -= len(line)
        return line


def _read_zip(path: Path) -> CkptContents:
    with zipfile.ZipFile(path) as archive:
        pickles = [name for name in archive.namelist() if name.split("/", 1)[-1] == "data.pkl"]
        if len(pickles) != 1:
            raise BadFile(f"'{path.name}' is a zip archive, but not a PyTorch checkpoint.")
        if archive.getinfo(pickles[0]).file_size > MAX_PICKLE_BYTES:
            raise pickle.UnpicklingError("longer than any list of tensors")
        with archive.open(pickles[0]) as file:
            unpickler = _Unpickler(_BoundedReader(file, MAX_PICKLE_BYTES))
            content = unpickler.load()
    return CkptContents(
        _flatten(content), unpickler.storages, archive_prefix=pickles[0].removesuffix("data.pkl")
    )


def _read_legacy(path: Path) -> CkptContents:
    with path.open("rb") as file:
        bounded = _BoundedReader(file, MAX_PICKLE_BYTES)
        magic, _protocol, system = (_Unpickler(bounded).load() for _ in range(3))
        if magic != MAGIC_NUMBER or not system.get("little_endian", True):
            raise pickle.UnpicklingError("not written by PyTorch on a usual machine")
        unpickler = _Unpickler(bounded)
        content = unpickler.load()
        keys = tuple(str(key) for key in _Unpickler(bounded).load())
        return CkptContents(
            _flatten(content), unpickler.storages, storage_keys=keys, storages_offset=file.tell()
        )


def _flatten(content: Any) -> dict[str, TensorRecord]:
    """Return the tensors at the top level or in `state_dict`; those of a nested dict as "outer.inner"."""
    for _ in range(3):  # some merged files wrap a state_dict in another
        if not isinstance(content, dict):
            raise pickle.UnpicklingError("no table of tensors")
        if "state_dict" not in content:
            break
        content = cast("dict[str, Any]", content)["state_dict"]
    return dict(_iterate_tensors(cast("dict[Any, Any]", content)))


def _iterate_tensors(table: dict[Any, Any]) -> Iterator[tuple[str, TensorRecord]]:
    for name, value in table.items():
        if isinstance(value, TensorRecord):
            yield str(name), value
        elif isinstance(value, dict):
            inner = cast("dict[Any, Any]", value)
            yield from (
                (f"{name}.{key}", v) for key, v in inner.items() if isinstance(v, TensorRecord)
            )
