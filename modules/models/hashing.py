"""SHA-256 of model files, computed on one background thread and cached on disk."""

from __future__ import annotations

import hashlib
import logging
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from modules.core.errors import BadFile
from modules.models.file_cache import HashCache
from modules.models.files.scan import FileStamp

CHUNK_BYTES = 8 * 1024 * 1024
logger = logging.getLogger(__name__)


@dataclass
class HashJob:
    """A file being hashed, and how far."""

    stamp: FileStamp
    offset: int = 0
    digest: Any = field(default_factory=hashlib.sha256)  # hashlib gives its class no public name


class FileHasher:
    """Cached hashes, and the thread that computes the others.

    Args:
        file: JSON file of the cache, created on the first write.
        on_change: Called on the thread after each new hash.
        hash_chunk: Hashes the next chunk of a file and returns whether it was the last.
    """

    def __init__(
        self,
        file: Path,
        on_change: Callable[[FileStamp, str], None],
        hash_chunk: Callable[[HashJob], bool] | None = None,
    ) -> None:
        self._cache = HashCache(file)
        self._on_change = on_change
        self._hash_chunk = hash_chunk or hash_next_chunk
        self._failed: dict[FileStamp, str] = {}
        self._jobs: list[HashJob] = []  # the last one is computed first
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._stopping = False

    def get_cached(self, stamp: FileStamp) -> str:
        """Return the hash of a file, or "" if it is not known yet."""
        with self._changed:
            return self._cache.get(stamp)

    def enqueue(self, stamps: Sequence[FileStamp], *, urgent: bool = False) -> None:
        """Queue files for hashing and start the thread if it does not run.

        Args:
            stamps: In the order in which they are to be hashed.
            urgent: Whether they are hashed before all others, including one in progress.
        """
        with self._changed:
            queued = {job.stamp: job for job in self._jobs}
            missing = [s for s in stamps if not self.get_cached(s) and (urgent or s not in queued)]
            for stamp in missing:
                self._failed.pop(stamp, None)
            jobs = [queued.get(stamp, HashJob(stamp)) for stamp in reversed(missing)]
            others = [job for job in self._jobs if job not in jobs]
            self._jobs = others + jobs if urgent else jobs + others
            if self._jobs and not (self._thread and self._thread.is_alive()):
                self._stopping = False
                self._thread = threading.Thread(target=self._run, name="hashing", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def wait(self, stamp: FileStamp, timeout_s: float | None = None) -> str:
        """Return the hash of a file, computed before all others; "" after a timeout or `stop`.

        Raises:
            BadFile: the file cannot be read.
        """
        self.enqueue([stamp], urgent=True)
        with self._changed:
            self._changed.wait_for(
                lambda: self._stopping or bool(self.get_cached(stamp)) or stamp in self._failed,
                timeout_s,
            )
            if stamp in self._failed:
                raise BadFile(self._failed.pop(stamp))
            return self.get_cached(stamp)

    def stop(self) -> None:
        """End the thread within one chunk; a file in progress starts from its beginning next time."""
        with self._changed:
            self._stopping = True
            self._jobs.clear()
            self._changed.notify_all()
            thread = self._thread
        if thread is not None:
            thread.join(timeout=2)

    def _run(self) -> None:
        while True:
            with self._changed:
                if self._stopping or not self._jobs:
                    self._thread = None
                    return
                job = self._jobs[-1]
            try:
                is_complete = self._hash_chunk(job)
            except OSError as error:
                logger.warning("'%s' cannot be hashed: %s", job.stamp.path, error)
                self._finish(
                    job, error=f"'{job.stamp.path}' cannot be read: {error.strerror or error}."
                )
                continue
            if is_complete:
                self._finish(job)

    def _finish(self, job: HashJob, error: str = "") -> None:
        digest = "" if error else str(job.digest.hexdigest())
        with self._changed:
            self._jobs = [other for other in self._jobs if other is not job]
            if error:
                self._failed[job.stamp] = error
            else:
                self._cache.set(job.stamp, digest)
            self._changed.notify_all()
        if digest:
            self._on_change(job.stamp, digest)


def hash_next_chunk(job: HashJob, chunk_bytes: int = CHUNK_BYTES) -> bool:
    """Hash the next chunk of a file and return whether it was the last.

    Raises:
        OSError: the file cannot be read, or has changed.
    """
    with Path(job.stamp.path).open("rb") as file:
        status = os.fstat(file.fileno())
        if (status.st_size, status.st_mtime_ns) != job.stamp[1:]:
            raise OSError("it changed while it was being hashed; refresh the list")
        file.seek(job.offset)
        chunk = file.read(chunk_bytes)
    job.digest.update(chunk)
    job.offset += len(chunk)
    return job.offset >= job.stamp.size_bytes
