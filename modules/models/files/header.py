"""Names, shapes and metadata of a checkpoint's tensors, told by its content; no weights are read."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple, cast

from modules.core.errors import BadFile, NotFound
from modules.models.files import safe_pickle
from modules.models.files.dtypes import DTYPE_BITS

ContainerFormat = Literal["safetensors", "zip", "pickle"]

# The limit of the safetensors format itself.
LARGEST_HEADER_BYTES = 100_000_000


class TensorInfo(NamedTuple):
    """Shape and dtype of one tensor; dtypes are spelled as safetensors does, such as "F16"."""

    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class Header:
    """What a checkpoint holds.

    Args:
        tensors: Name to shape and dtype, free of any enclosing `state_dict`.
        metadata: The free text of a .safetensors file.
        container: The container as its content tells it, whatever the extension.
        byte_offsets: Byte at which each tensor begins, in a .safetensors file.
    """

    tensors: Mapping[str, TensorInfo]
    metadata: Mapping[str, str]
    container: ContainerFormat
    byte_offsets: Mapping[str, int] = field(default_factory=dict[str, int])


def read_header(path: Path) -> Header:
    """Return what the file holds.

    Raises:
        NotFound: there is no such file.
        BadFile: it is incomplete, of another kind, or asks for code.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            kind = detect_container(path, file.read(512), size)
            if kind == "safetensors":
                return _read_safetensors(path, file, size)
        tensors = safe_pickle.read_ckpt(path, is_zip=kind == "zip").tensors
    except FileNotFoundError:
        raise NotFound(
            f"'{path}' does not exist.",
            "Put the file back, or refresh the list and choose another.",
        ) from None
    except OSError as error:
        raise BadFile(f"'{path.name}' cannot be read: {error.strerror or error}.") from error
    infos = {name: TensorInfo(tensor.shape, tensor.dtype) for name, tensor in tensors.items()}
    return Header(infos, {}, kind)


def detect_container(path: Path, start: bytes, size: int) -> ContainerFormat:
    """Return the container that the first bytes speak of.

    Args:
        path: Named in the error.
        start: The first 512 bytes, or all if there are fewer.
        size: Bytes in the whole file.

    Raises:
        BadFile: the file is no checkpoint.
    """
    if start[:4] == b"PK\x03\x04":
        return "zip"
    if start[:1] == b"\x80" and start[1:2] in b"\x02\x03\x04\x05":
        return "pickle"
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= LARGEST_HEADER_BYTES:
        return "safetensors"
    raise BadFile(f"'{path.name}' {_what_it_is(start, size)}")


def _what_it_is(start: bytes, size: int) -> str:
    """Return what a file without a known container is, as the rest of a sentence."""
    text = start.lstrip().lower()
    if size == 0:
        return "is empty (0 bytes). Download it again."
    if text.startswith(b"version https://git-lfs"):
        return f"is a Git LFS pointer of {size} bytes, not the model. Run 'git lfs pull'."
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "is a web page, not a model. The download link led to a page; try it in a browser."
    if not start.strip(b"\0"):
        return "begins with zeros: the download or copy broke off. Download it again."
    return "is neither a .safetensors nor a .ckpt file inside. Download it again."


def _read_safetensors(path: Path, file: BinaryIO, size: int) -> Header:
    file.seek(0)
    length = int.from_bytes(file.read(8), "little")
    if 8 + length > size:
        raise BadFile(f"'{path.name}' is incomplete: it ends within its own list of tensors.")
    try:
        content: object = json.loads(file.read(length))
    except (ValueError, RecursionError) as error:
        raise BadFile(f"'{path.name}' has a damaged list of tensors.") from error
    if not isinstance(content, dict):
        raise BadFile(f"'{path.name}' has a damaged list of tensors.")
    entries = cast("dict[str, Any]", content)  # JSON: anything, checked entry by entry
    metadata: dict[str, str] = entries.pop("__metadata__", None) or {}
    try:
        tensors = {name: TensorInfo(tuple(e["shape"]), e["dtype"]) for name, e in entries.items()}
        ends = [_checked_end(tensors[name], *e["data_offsets"]) for name, e in entries.items()]
    except (KeyError, TypeError, ValueError) as error:
        raise BadFile(f"'{path.name}' has a damaged list of tensors.") from error
    _check_size(path, expected=8 + length + max(ends, default=0), size=size)
    positions = {name: 8 + length + e["data_offsets"][0] for name, e in entries.items()}
    return Header(tensors, metadata, "safetensors", positions)


def _checked_end(info: TensorInfo, start: int, end: int) -> int:
    if min(info.shape, default=0) < 0 or start < 0:
        raise ValueError("negative size")
    bits = DTYPE_BITS.get(info.dtype)  # a dtype of tomorrow is judged by who loads it
    if bits is not None and (end - start) * 8 != math.prod(info.shape) * bits:
        raise ValueError("size does not fit the shape")
    return end


def _check_size(path: Path, expected: int, size: int) -> None:
    if size < expected:
        unit, name = next(
            (u for u in ((1e9, "GB"), (1e6, "MB"), (1e3, "KB")) if expected >= u[0]), (1, "bytes")
        )
        digits = 0 if unit == 1 else 1
        text = f"{size / unit:.{digits}f} of {expected / unit:.{digits}f} {name}"
        raise BadFile(f"'{path.name}' is incomplete: {text}.", "Download it again.")
    if size > expected:
        raise BadFile(
            f"'{path.name}' has {size - expected} bytes too many at its end.", "Download it again."
        )
