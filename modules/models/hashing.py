"""SHA-256 of model files, computed on one background thread and remembered on disk."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from modules.core.atomic import write_text
from modules.core.errors import BadFile
from modules.models.scan import FileStamp

CHUNK_BYTES = 8 * 1024 * 1024
logger = logging.getLogger(__name__)


@dataclass
class _Job:
    stamp: FileStamp
    offset: int = 0
    digest: Any = field(default_factory=hashlib.sha256)  # hashlib gives its class no public name


class FileHasher:
    """Known hashes, and the thread that computes the others.

    Args:
        file: Where hashes are remembered; made on the first save.
        on_change: Called on the thread after each new hash.
    """

    def __init__(self, file: Path, on_change: Callable[[FileStamp, str], None]) -> None:
        self._file = file
        self._on_change = on_change
        self._hashes: dict[str, tuple[int, int, str]] | None = None
        self._failed: dict[FileStamp, str] = {}
        self._jobs: list[_Job] = []  # the last one is computed first
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._stopping = False

    def get_cached(self, stamp: FileStamp) -> str:
        """Return the hash of that file, or "" while it is not known."""
        with self._changed:
            size, modified, digest = self._load().get(stamp.path, (0, 0, ""))
        return digest if (size, modified) == (stamp.size_bytes, stamp.modified_ns) else ""

    def enqueue(self, stamps: Sequence[FileStamp], *, urgent: bool = False) -> None:
        """Queue files for hashing and start the thread if it does not run.

        Args:
            stamps: In the order in which they are wanted.
            urgent: Before all others, one that is under way included.
        """
        with self._changed:
            waiting = {job.stamp: job for job in self._jobs}
            wanted = [s for s in stamps if not self.get_cached(s) and (urgent or s not in waiting)]
            for stamp in wanted:
                self._failed.pop(stamp, None)
            jobs = [waiting.get(stamp, _Job(stamp)) for stamp in reversed(wanted)]
            others = [job for job in self._jobs if job not in jobs]
            self._jobs = others + jobs if urgent else jobs + others
            if self._jobs and not (self._thread and self._thread.is_alive()):
                self._stopping = False
                self._thread = threading.Thread(target=self._run, name="hashing", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def wait(self, stamp: FileStamp, timeout_s: float | None = None) -> str:
        """Return the hash of that file, computed before all others; "" if it takes too long.

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
        """End the thread within one chunk; files under way begin anew next time."""
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
                done = _advance(job)
            except OSError as error:
                logger.warning("'%s' cannot be hashed: %s", job.stamp.path, error)
                self._finish(
                    job, error=f"'{job.stamp.path}' cannot be read: {error.strerror or error}."
                )
                continue
            if done:
                self._finish(job)

    def _finish(self, job: _Job, error: str = "") -> None:
        digest = "" if error else str(job.digest.hexdigest())
        with self._changed:
            self._jobs = [other for other in self._jobs if other is not job]
            if error:
                self._failed[job.stamp] = error
            else:
                self._load()[job.stamp.path] = (job.stamp.size_bytes, job.stamp.modified_ns, digest)
                self._save()
            self._changed.notify_all()
        if digest:
            self._on_change(job.stamp, digest)

    def _load(self) -> dict[str, tuple[int, int, str]]:
        if self._hashes is None:
            self._hashes = _read_cache(self._file)
        return self._hashes

    def _save(self) -> None:
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            write_text(self._file, json.dumps(self._hashes, indent=1))
        except OSError as error:  # a full or read-only disk costs only the time to hash again
            logger.warning("Hashes cannot be remembered in '%s': %s", self._file, error)


def _advance(job: _Job) -> bool:
    """Hash one more chunk and return whether it was the last."""
    with Path(job.stamp.path).open("rb") as file:
        status = os.fstat(file.fileno())
        if (status.st_size, status.st_mtime_ns) != job.stamp[1:]:
            raise OSError("it changed while it was being hashed; refresh the list")
        file.seek(job.offset)
        chunk = file.read(CHUNK_BYTES)
    job.digest.update(chunk)
    job.offset += len(chunk)
    return job.offset >= job.stamp.size_bytes


def _read_cache(file: Path) -> dict[str, tuple[int, int, str]]:
    try:
        content = cast("dict[str, Any]", json.loads(file.read_text(encoding="utf-8")))
        return {
            path: (int(size), int(modified), str(digest))
            for path, (size, modified, digest) in content.items()
        }
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        logger.warning("'%s' is damaged and begun anew: %s", file, error)
        return {}
