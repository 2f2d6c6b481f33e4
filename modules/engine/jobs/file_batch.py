"""Many files, one after another: each becomes a job of its own; one that fails is told of, and the rest go on."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from modules.core.errors import WebUIError
from modules.engine.image_saver import ImageSaver
from modules.engine.jobs.job import Job, JobState, JobStatus, SaveImage
from modules.images.filename import Destination
from modules.params.events import Progress
from modules.params.requests.base import GenerationRequest
from modules.params.results import GeneratedImage

# In steps of which one file has this many, the bar moves smoothly, however many steps a file's own job has.
_STEPS_A_FILE = 100


class FileBatch:
    """Followed like a job. A file is read only when its turn comes, so that as many as there are fit into memory.

    Args:
        files: Pictures on the server, in the order of their turns.
        make_request: Returns what is asked of a file, or raises a WebUIError that is told of.
        submit: Puts a request for a file in the queue.
    """

    def __init__(
        self,
        files: Sequence[Path],
        make_request: Callable[[Path], GenerationRequest],
        submit: Callable[[GenerationRequest, Path], Job],
    ) -> None:
        self.id = secrets.token_urlsafe(16)
        self._files = tuple(files)
        self._make_request = make_request
        self._submit = submit
        self._lock = threading.Lock()
        self._interrupted = threading.Event()
        self._ended = threading.Event()
        self._file_index = 0  # of the file whose turn it is, from 0
        self._job: Job | None = None
        self._request: GenerationRequest | None = None
        self._images: list[GeneratedImage] = []
        self._notes: list[str] = []

    def start(self) -> None:
        """Begin with the first file, in a thread of its own."""
        threading.Thread(target=self._run, name="batch", daemon=True).start()

    def status(self) -> JobStatus:
        """Return a snapshot: pictures and notes of all files so far, and how far the one at work is."""
        with self._lock:
            job, number = self._job, self._file_index
            images, notes = list(self._images), list(self._notes)
        count = len(self._files)
        name = self._files[min(number, count - 1)].name
        phase, done, preview_number = "Reading", 0.0, 0
        if job is not None:
            inner = job.status()
            images += [replace(one, index=len(images) + i) for i, one in enumerate(inner.images)]
            phase, done = inner.phase, inner.progress.fraction
            preview_number = number * 10**6 + inner.preview_number if inner.preview_number else 0
        state = self._state(len(images))
        return JobStatus(
            id=self.id,
            state=state,
            phase="" if self._ended.is_set() else f"{name}, {number + 1} of {count} files: {phase}",
            progress=Progress(round((number + done) * _STEPS_A_FILE), count * _STEPS_A_FILE),
            images=tuple(images),
            image_count=max(count, len(images)),
            notes=tuple(notes),
            error=f"Interrupted: {number} of {count} files were finished."
            if state == "cancelled"
            else "",
            exception=None,
            preview_number=preview_number,
        )

    def _state(self, image_count: int) -> JobState:
        if not self._ended.is_set():
            return "running"
        if self._interrupted.is_set():
            return "cancelled"
        return "done" if image_count else "failed"

    @property
    def request(self) -> GenerationRequest | None:
        """Return what was asked last, without its pictures."""
        return self._request

    def watch(self) -> None:
        """Say that someone is looking, so that previews are worth making."""
        if (job := self._job) is not None:
            job.watch()

    def preview(self) -> bytes:
        """Return the latest preview as JPEG, or nothing."""
        job = self._job
        return job.preview() if job is not None else b""

    def depth_map(self) -> bytes:
        """Return nothing: each file has a depth of its own."""
        return b""

    def interrupt(self) -> None:
        """Stop the file at work at its next step and leave out all that follow."""
        self._interrupted.set()
        if (job := self._job) is not None:
            job.interrupt()

    def skip(self) -> None:
        """Go on with the next file; what the one at work has finished is kept."""
        if (job := self._job) is not None:
            job.interrupt()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Return whether all is done, waiting for it at most so long."""
        return self._ended.wait(timeout_s)

    def _run(self) -> None:
        try:
            for file in self._files:
                if self._interrupted.is_set():
                    return
                self._run_file(file)
                if not self._interrupted.is_set():
                    with self._lock:
                        self._file_index += 1
        finally:
            self._ended.set()

    def _run_file(self, file: Path) -> None:
        try:
            request = self._make_request(file)
            self._request = request.without_images()
            job = self._submit(request, file)
        except WebUIError as error:
            self._add_note(file, str(error))
            return
        self._job = job
        if self._interrupted.is_set():  # between the first look and now
            job.interrupt()
        job.wait()
        status = job.status()
        with self._lock:
            first = len(self._images)
            self._images += [replace(one, index=first + i) for i, one in enumerate(status.images)]
            self._job = None
        for text in [*status.notes, status.error if status.state == "failed" else ""]:
            if text:
                self._add_note(file, text)

    def _add_note(self, file: Path, text: str) -> None:
        with self._lock:
            self._notes.append(f"{file.name}: {text}")


_REMEMBERED = 50


class FileBatches:
    """Begins batches and knows them by id.

    Args:
        submit: Puts a request in the queue, with what saves its pictures.
        image_saver: Saves them.
    """

    def __init__(
        self, submit: Callable[[GenerationRequest, SaveImage], Job], image_saver: ImageSaver
    ) -> None:
        self._submit = submit
        self._image_saver = image_saver
        self._batches: dict[str, FileBatch] = {}

    def start(
        self,
        files: Sequence[Path],
        make_request: Callable[[Path], GenerationRequest],
        folder: str = "",
    ) -> FileBatch:
        """Begin to carry out a request for each file, one after another.

        Args:
            files: Pictures on the server.
            make_request: See Batch.
            folder: Name of a folder below outputs, where pictures are named like their files; "" saves as always.
        """

        def submit(request: GenerationRequest, file: Path) -> Job:
            destination = Destination(folder, file.stem) if folder else None
            return self._submit(request, partial(self._image_saver.save, destination=destination))

        batch = FileBatch(files, make_request, submit)
        self._batches[batch.id] = batch
        for old in list(self._batches)[:-_REMEMBERED]:
            self._batches.pop(old, None)
        batch.start()
        return batch

    def find(self, batch_id: str) -> FileBatch | None:
        """Return a batch, or None when it never was or is long past."""
        return self._batches.get(batch_id)

    def interrupt_all(self) -> None:
        """Stop all of them."""
        for batch in list(self._batches.values()):
            batch.interrupt()
