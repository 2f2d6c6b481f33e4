"""Weights in the dtype that they compute in, in files that are mapped: what is converted once loads at once from then on.

A file holds the weights of one network. It is mapped privately: what changes a weight, such as a LoRA, gets its own copy of
the page, and the file may be replaced or deleted while it is in use. It is never cut short, which would end the process:
only this class writes it, whole or not at all.
"""

from __future__ import annotations

import atexit
import contextlib
import hashlib
import json
import logging
import mmap
import os
import re
import shutil
import stat
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from modules.backend.loading.pieces import ITEMS_AT_ONCE, PIECE_BYTES, Copies
from modules.backend.loading.scratch import Scratch, convert
from modules.backend.loading.state_dict import FileStateDict
from modules.core.atomic import open_writer, remove_leftovers
from modules.core.background import give_way
from modules.core.errors import BadFile
from modules.core.private import make_own_folder

logger = logging.getLogger(__name__)

# Of what a file holds and how; another number makes all files foreign.
_LAYOUT = 1
_NAME = re.compile(r"[0-9a-f]{32}\.safetensors")
_DTYPES = {torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16"}
_ALIGNMENT = 64  # bytes, as in torch's own allocator
# Smaller ones are converted in a moment.
_LEAST_BYTES = 64_000_000
# A disk with less left, or less of its size, is small.
_LEAST_FREE = 10_000_000_000, 0.1
_PAGE_BYTES, _CHUNK_BYTES = 4096, 16 << 20
_SYNC_BYTES = 128 << 20
_LONGEST_PAUSE_S = 1.0


class WantedWeight(NamedTuple):
    """A weight of a network.

    Args:
        key: In the network.
        source: What of the checkpoint it is, by name and part.
        tensor: There, of any dtype and in the network's shape.
    """

    key: str
    source: str
    tensor: Tensor


@dataclass(frozen=True)
class WantedWeights:
    """The weights of a network, and where they come from.

    Args:
        state_dict: Of the checkpoint.
        dtype: That they are wanted in.
        weights: In any order.
    """

    state_dict: FileStateDict
    dtype: torch.dtype
    weights: Sequence[WantedWeight]

    @property
    def bytes(self) -> int:
        """Return the size of the weights in the wanted dtype."""
        return sum(weight.tensor.numel() for weight in self.weights) * self.dtype.itemsize

    @property
    def needs_conversion(self) -> bool:
        """Return whether most of the weights have another dtype in the checkpoint."""
        sizes = [(one.tensor.numel(), one.tensor.dtype == self.dtype) for one in self.weights]
        return sum(size for size, is_same in sizes if not is_same) > sum(
            size for size, is_same in sizes if is_same
        )

    @cached_property
    def digest(self) -> str:
        """Return the identity of the weights: of the checkpoint's content, of what of it is wanted, and how."""
        rows = sorted((one.key, one.source, list(one.tensor.shape)) for one in self.weights)
        identity = [_LAYOUT, torch.__version__, *self.state_dict.stamp, _DTYPES[self.dtype], rows]
        return hashlib.sha256(json.dumps(identity).encode()).hexdigest()

    @cached_property
    def in_order(self) -> list[WantedWeight]:
        """Return the weights as the file has them: in the checkpoint's order, odd sizes last, so that the others are aligned."""

        def place(weight: WantedWeight) -> tuple[bool, int]:
            size = weight.tensor.numel() * self.dtype.itemsize
            return size % _ALIGNMENT != 0, weight.tensor.data_ptr()

        return sorted(self.weights, key=place)

    @cached_property
    def header(self) -> bytes:
        """Return what the file begins with: the list of tensors of the safetensors format, and the digest."""
        entries: dict[str, object] = {"__metadata__": {"format": "pt", "weights": self.digest}}
        end = 0
        for weight in self.in_order:
            start, end = end, end + weight.tensor.numel() * self.dtype.itemsize
            entries[weight.key] = {
                "dtype": _DTYPES[self.dtype],
                "shape": list(weight.tensor.shape),
                "data_offsets": [start, end],
            }
        text = json.dumps(entries).encode()
        text += b" " * (-(8 + len(text)) % _ALIGNMENT)
        return len(text).to_bytes(8, "little") + text


class WeightCache:
    """A folder of such files, of which the least recently used are deleted.

    Args:
        folder: For this user alone; created when something is written.
        limit_bytes: Of all files together.
        least_bytes: Networks of less are not kept.
        least_free: The bytes, and the share of the disk, that must stay free.
    """

    def __init__(
        self,
        folder: Path,
        limit_bytes: int,
        least_bytes: int = _LEAST_BYTES,
        least_free: tuple[int, float] = _LEAST_FREE,
    ) -> None:
        self._folder = folder
        self._limit_bytes = limit_bytes
        self._least_bytes = least_bytes
        self._least_free = least_free
        self._writers: list[threading.Thread] = []
        self._lock = threading.Lock()  # one file is written at a time
        self._is_closed = threading.Event()

    def read(self, wanted: WantedWeights, copies: Copies) -> dict[str, Tensor] | None:
        """Return the weights by their keys in the network, mapped; None if they are not kept.

        Args:
            wanted: The weights.
            copies: Reads them from the disk until its block ends.
        """
        path = self._path(wanted)
        try:
            mapping = _map(path, wanted)
        except (OSError, ValueError):
            return None
        if mapping is None:
            logger.warning("%s is not what this program wrote; it is not used.", path)
            return None
        with contextlib.suppress(OSError):
            os.utime(path)  # it is the most recently used one now
        data = torch.frombuffer(mapping, dtype=torch.uint8)
        copies.run(_make_toucher(mapping, data), range(0, len(data), _CHUNK_BYTES))
        storage, start = data.untyped_storage(), len(wanted.header) // wanted.dtype.itemsize
        found: dict[str, Tensor] = {}
        for weight in wanted.in_order:
            shape = weight.tensor.shape
            stride = torch.empty(shape, device="meta").stride()
            found[weight.key] = torch.empty(0, dtype=wanted.dtype).set_(  # pyright: ignore[reportArgumentType, reportCallIssue]
                storage, start, shape, stride
            )
            start += weight.tensor.numel()
        return found

    def write_later(self, networks: Sequence[WantedWeights]) -> None:
        """Keep weights for the next time, in the background: they are read from the checkpoint again, since those in use may change."""
        kept = [
            wanted
            for wanted in networks
            if wanted.bytes >= self._least_bytes and wanted.needs_conversion
        ]
        if kept:
            writer = threading.Thread(
                target=self._write_all, args=(kept,), name="weight cache", daemon=True
            )
            self._writers = [thread for thread in self._writers if thread.is_alive()] + [writer]
            atexit.register(self.close)  # a thread in torch's code aborts an interpreter that ends
            writer.start()

    def wait(self) -> None:
        """Wait until nothing is being written."""
        for writer in self._writers:
            writer.join()

    def close(self) -> None:
        """Write no more; what has been begun is dropped."""
        self._is_closed.set()
        self.wait()

    def trim(self, room_bytes: int = 0) -> None:
        """Delete the least recently used files until all of them and so many bytes more are within the limit."""
        files: list[tuple[float, int, Path]] = []
        with contextlib.suppress(OSError):  # there is no folder
            for path in self._folder.iterdir():
                if _NAME.fullmatch(path.name):
                    status = path.lstat()
                    files.append((status.st_mtime, status.st_size, path))
        total = sum(size for _, size, _ in files) + room_bytes
        for _, size, path in sorted(files):
            if total <= self._limit_bytes:
                return
            with contextlib.suppress(
                OSError
            ):  # Windows deletes no mapped file: the next start does
                path.unlink()
                total -= size

    def _path(self, wanted: WantedWeights) -> Path:
        return self._folder / f"{wanted.digest[:32]}.safetensors"

    def _write_all(self, networks: Sequence[WantedWeights]) -> None:
        give_way()
        with self._lock:
            try:
                for wanted in networks:
                    self._write(wanted)
            except (OSError, BadFile) as error:  # it would be the same with the others
                logger.info("Converted weights are not kept: %s", error)
        atexit.unregister(self.close)

    def _write(self, wanted: WantedWeights) -> None:
        """Write one file, or none where there is no room.

        Raises:
            OSError: the disk is full, or the folder is not of this user alone.
            BadFile: the checkpoint has changed.
        """
        size = len(wanted.header) + wanted.bytes
        if size > self._limit_bytes or not self._has_room(size):
            return
        self.trim(size)
        make_own_folder(self._folder)
        path = self._path(wanted)
        remove_leftovers(path)  # gigabytes, after a kill
        with open_writer(path) as file:
            file.write(wanted.header)
            unsynced, began = 0, time.perf_counter()
            for part in _converted(wanted):
                file.write(part)
                unsynced += len(part)
                if unsynced >= _SYNC_BYTES:  # or the system holds up all who write
                    file.flush()
                    os.fsync(file.fileno())
                    unsynced = 0
                # A quarter of one core, where threads have no priority, and of the disk, beside the job that the
                # checkpoint was loaded for.
                if self._is_closed.wait(min(_LONGEST_PAUSE_S, 3 * (time.perf_counter() - began))):
                    raise InterruptedError("the program ends.")
                began = time.perf_counter()
            if not wanted.state_dict.is_unchanged():
                raise BadFile("The checkpoint has changed while its weights were converted.")

    def _has_room(self, size: int) -> bool:
        """Return whether enough of the disk stays free."""
        folder = next(path for path in (self._folder, *self._folder.parents) if path.exists())
        usage = shutil.disk_usage(folder)
        least_bytes, least_share = self._least_free
        return usage.free - size >= max(least_bytes, least_share * usage.total)


def _map(path: Path, wanted: WantedWeights) -> mmap.mmap | None:
    """Return a file mapped privately, or None if anything but its weights is not as this program writes it.

    Raises:
        OSError: there is no such file.
    """
    if not stat.S_ISREG(path.lstat().st_mode):
        return None
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        is_ours = os.name != "posix" or status.st_uid == os.getuid()
        if not is_ours or status.st_size != len(wanted.header) + wanted.bytes:
            return None
        if file.read(len(wanted.header)) != wanted.header:
            return None
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)


def _make_toucher(mapping: mmap.mmap, data: Tensor) -> Callable[[int], None]:
    """Return what reads a chunk of a mapped file from the disk, by its first byte, without holding up other threads."""

    def touch(start: int) -> None:
        if hasattr(mapping, "madvise"):
            with contextlib.suppress(OSError):
                mapping.madvise(mmap.MADV_WILLNEED, start, min(_CHUNK_BYTES, len(data) - start))
        data[start : start + _CHUNK_BYTES : _PAGE_BYTES].amax()

    return touch


def _converted(wanted: WantedWeights) -> Iterator[memoryview]:
    """Yield the bytes of the weights in the file's order, each part valid until the next one."""
    scratch, wide = Scratch(), torch.empty(ITEMS_AT_ONCE)
    converted = torch.empty(PIECE_BYTES, dtype=wanted.dtype)
    for weight in wanted.in_order:
        tensor = weight.tensor
        if not tensor.is_contiguous():
            tensor = wanted.state_dict.read(tensor).contiguous()
        for part in tensor.view(-1).split(PIECE_BYTES // tensor.itemsize):
            target = converted[: part.numel()]
            convert(wanted.state_dict.read(part, scratch), target, wide)
            yield target.view(torch.uint8).numpy().data
