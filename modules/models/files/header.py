"""Reads names, shapes and metadata of a model file's tensors; no weights are read, the extension is ignored."""

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
MAX_HEADER_BYTES = 100_000_000


class TensorInfo(NamedTuple):
    """Shape and dtype of one tensor; dtypes have safetensors names, such as "F16"."""

    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class Header:
    """The header of a model file.

    Args:
        tensors: Name to shape and dtype, without any enclosing `state_dict`.
        metadata: `__metadata__` of a .safetensors file.
        container: The format detected by content, whatever the extension.
        byte_offsets: Position of each tensor's first byte in a .safetensors file.
    """

    tensors: Mapping[str, TensorInfo]
    metadata: Mapping[str, str]
    container: ContainerFormat
    byte_offsets: Mapping[str, int] = field(default_factory=dict[str, int])


def read_header(path: Path) -> Header:
    """Return the header of a model file.

    Raises:
        NotFound: there is no such file.
        BadFile: it is incomplete, of another format, or contains code.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            container = detect_container(path, file.read(512), size)
            if container == "safetensors":
                return _read_safetensors(path, file, size)
        tensors = safe_pickle.read_ckpt(path, is_zip=container == "zip").tensors
    except FileNotFoundError:
        raise NotFound(
            f"'{path}' does not exist.",
            "Put the file back, or refresh the list and choose another.",
        ) from None
    except OSError as error:
        raise BadFile(f"'{path.name}' cannot be read: {error.strerror or error}.") from error
    infos = {name: TensorInfo(tensor.shape, tensor.dtype) for name, tensor in tensors.items()}
    return Header(infos, {}, container)


def detect_container(path: Path, start: bytes, size: int) -> ContainerFormat:
    """Return the format that the first bytes indicate.

    Args:
        path: Used in the error message.
        start: The first 512 bytes, or all if there are fewer.
        size: Bytes in the whole file.

    Raises:
        BadFile: the file is not a model file.
    """
    if start[:4] == b"PK\x03\x04":
        return "zip"
    if start[:1] == b"\x80" and start[1:2] in b"\x02\x03\x04\x05":
        return "pickle"
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= MAX_HEADER_BYTES:
        return "safetensors"
    raise BadFile(f"'{path.name}' {_describe_unknown_format(start, size)}")


def _describe_unknown_format(start: bytes, size: int) -> str:
    """Return what a file of unknown format is, as the rest of a sentence that begins with its name."""
    text = start.lstrip().lower()
    if size == 0:
        return "is empty (0 bytes). Download it again."
    if text.startswith(b"version https://git-lfs"):
        return f"is a Git LFS pointer of {size} bytes, not the model. Run 'git lfs pull'."
    if text.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "is a web page, not a model. The download link led to a page; try it in a browser."
    if not start.strip(b"\0"):
        return "begins with zeros: the download or copy broke off. Download it again."
    return "contains neither .safetensors nor .ckpt data. Download it again."


def _read_safetensors(path: Path, file: BinaryIO, size: int) -> Header:
    file.seek(0)
    length = int.from_bytes(file.read(8), "little")
    if 8 + length > size:
        raise BadFile(f"'{path.name}' is incomplete: it ends within its list of tensors.")
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
        ends = [_check_entry(tensors[name], *e["data_offsets"]) for name, e in entries.items()]
    except (KeyError, TypeError, ValueError) as error:
        raise BadFile(f"'{path.name}' has a damaged list of tensors.") from error
    _check_size(path, expected=8 + length + max(ends, default=0), size=size)
    byte_offsets = {name: 8 + length + e["data_offsets"][0] for name, e in entries.items()}
    return Header(tensors, metadata, "safetensors", byte_offsets)


def _check_entry(info: TensorInfo, start: int, end: int) -> int:
    """Return the end of a tensor's data.

    Raises:
        ValueError: its size is negative or does not fit its shape and dtype.
    """
    if min(info.shape, default=0) < 0 or start < 0:
        raise ValueError("negative size")
    bits = DTYPE_BITS.get(info.dtype)  # an unknown, newer dtype is left to the loader to reject
    if bits is not None and (end - start) * 8 != math.prod(info.shape) * bits:
        raise ValueError("size does not fit the shape")
    return end


def _check_size(path: Path, expected: int, size: int) -> None:
    if size < expected:
        divisor, unit = next(
            (u for u in ((1e9, "GB"), (1e6, "MB"), (1e3, "KB")) if expected >= u[0]), (1, "bytes")
        )
        digits = 0 if divisor == 1 else 1
        text = f"{size / divisor:.{digits}f} of {expected / divisor:.{digits}f} {unit}"
        raise BadFile(f"'{path.name}' is incomplete: {text}.", "Download it again.")
    if size > expected:
        raise BadFile(
            f"'{path.name}' has {size - expected} bytes too many at its end.", "Download it again."
        )
