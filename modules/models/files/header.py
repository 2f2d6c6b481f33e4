"""Reads names, shapes and metadata of a model file's tensors; no weights are read, the extension is ignored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import BinaryIO, Literal

from modules.core.errors import BadFile, NotFound
from modules.models.files import safe_pickle
from modules.models.files.name_patterns import NamePatterns
from modules.models.files.safe_pickle import PlainValue
from modules.models.files.safetensors_header import TensorInfo, parse_list

ContainerFormat = Literal["safetensors", "zip", "pickle"]

MAX_FORMAT_BYTES = (
    100_000_000  # the limit of the safetensors format itself, for the list of tensors
)
MAX_HEADER_BYTES = (
    16_000_000  # the longest in known files have 1 MB, or some more with training metadata
)


@dataclass(frozen=True)
class Header:
    """The header of a model file.

    Args:
        tensors: Name to shape and dtype, without any enclosing `state_dict`.
        metadata: `__metadata__` of a .safetensors file.
        container: The format detected by content, whatever the extension.
        data_start: Position of the first byte after the list of tensors of a .safetensors file.
        starts: Position of each tensor's first byte, counted from there.
        values: What a .ckpt holds in addition to its tensors; see `CkptContents`.
    """

    tensors: Mapping[str, TensorInfo]
    metadata: Mapping[str, str]
    container: ContainerFormat
    data_start: int = 0
    starts: Mapping[str, int] = field(default_factory=dict[str, int])
    values: Mapping[str, PlainValue] = field(default_factory=dict[str, PlainValue])

    @cached_property
    def names(self) -> NamePatterns:
        """Return the names of the tensors, for patterns."""
        return NamePatterns(self.tensors.keys())


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
        contents = safe_pickle.read_ckpt(path, is_zip=container == "zip")
    except FileNotFoundError:
        raise NotFound(
            f"'{path}' does not exist.",
            "Put the file back, or refresh the list and choose another.",
        ) from None
    except OSError as error:
        raise BadFile(f"'{path.name}' cannot be read: {error.strerror or error}.") from error
    infos = {
        name: TensorInfo(tensor.shape, tensor.dtype) for name, tensor in contents.tensors.items()
    }
    return Header(infos, {}, container, values=contents.values)


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
    if start[8:9] == b"{" and int.from_bytes(start[:8], "little") <= MAX_FORMAT_BYTES:
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
    if length > MAX_HEADER_BYTES:
        text = f"'{path.name}' has a list of tensors of {length / 1e6:.1f} MB"
        raise BadFile(f"{text}; no model has more than {MAX_HEADER_BYTES / 1e6:.0f} MB.")
    try:
        entries, metadata = parse_list(file.read(length).decode())
    except (ValueError, RecursionError) as error:
        raise BadFile(
            f"'{path.name}' has a damaged list of tensors.", "Download it again."
        ) from error
    data_start = 8 + length
    _check_size(path, expected=data_start + entries.end, size=size)
    return Header(entries.infos, metadata, "safetensors", data_start, entries.starts)


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
