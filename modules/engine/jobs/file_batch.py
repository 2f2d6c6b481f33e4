"""File batches: each file becomes a separate job; failed files are reported, and the batch continues."""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from modules.core.errors import WebUIError
from modules.engine.image_saver import ImageSaver
from modules.engine.jobs.job import Job, SaveImage
from modules.engine.jobs.job_status import JobState, JobStatus
from modules.images.filename import Destination
from modules.params.events import Progress
from modules.params.requests.base import GenerationRequest
from modules.params.results import GeneratedImage

# Each file counts as this many steps, so that the bar moves smoothly, however many steps the file's job has.
_STEPS_PER_FILE = 100


class FileBatch:
    """A batch of files with the interface of a job. A file is read only when its turn comes, so that any number fits in memory.

    Args:
        files: Image files on the server, in processing order.
        make_request: Returns the request for a file, or raises a WebUIError, which is reported.
        submit: Queues the request for a file.
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
        self._file_index = 0  # of the current file, from 0
        self._job: Job | None = None
        self._request: GenerationRequest | None = None
        self._images: list[GeneratedImage] = []
        self._notes: list[str] = []

    def start(self) -> None:
        """Start with the first file, in a separate thread."""
        threading.Thread(target=self._run, name="batch", daemon=True).start()

    def status(self) -> JobStatus:
        """Return a snapshot: images and notes of all files so far, and the progress of the current file."""
        with self._lock:
            job, file_index = self._job, self._file_index
            images, notes = list(self._images), list(self._notes)
        count = len(self._files)
        name = self._files[min(file_index, count - 1)].name
        phase, fraction, preview_number = "Reading", 0.0, 0
        if job is not None:
            status = job.status()
            images += _renumber(status.images, len(images))
            phase, fraction = status.phase, status.progress.fraction
            if status.preview_number:
                preview_number = file_index * 10**6 + status.preview_number
        state = self._state(len(images))
        return JobStatus(
            id=self.id,
            state=state,
            phase=""
            if self._ended.is_set()
            else f"{name}, {file_index + 1} of {count} files: {phase}",
            progress=Progress(
                round((file_index + fraction) * _STEPS_PER_FILE), count * _STEPS_PER_FILE
            ),
            images=tuple(images),
            image_count=max(count, len(images)),
            notes=tuple(notes),
            error=f"Interrupted: {file_index} of {count} files were finished."
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
        """Return the latest request, without its images."""
        return self._request

    def watch(self) -> None:
        """Note that a client is watching, so that previews are worth making."""
        if (job := self._job) is not None:
            job.watch()

    def preview(self) -> bytes:
        """Return the latest preview as JPEG, or b"" if there is none."""
        job = self._job
        return job.preview() if job is not None else b""

    def depth_map(self) -> bytes:
        """Return b"": each file has its own depth map."""
        return b""

    def interrupt(self) -> None:
        """Stop the current file at its next step and omit the remaining files."""
        self._interrupted.set()
        if (job := self._job) is not None:
            job.interrupt()

    def skip(self) -> None:
        """Continue with the next file; finished images of the current one are kept."""
        if (job := self._job) is not None:
            job.interrupt()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait at most `timeout_s` for the end of the batch and return whether it has ended."""
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
        if self._interrupted.is_set():  # since the check in _run
            job.interrupt()
        job.wait()
        status = job.status()
        with self._lock:
            self._images += _renumber(status.images, len(self._images))
            self._job = None
        for text in [*status.notes, status.error if status.state == "failed" else ""]:
            if text:
                self._add_note(file, text)

    def _add_note(self, file: Path, text: str) -> None:
        with self._lock:
            self._notes.append(f"{file.name}: {text}")


def _renumber(images: Iterable[GeneratedImage], start: int) -> list[GeneratedImage]:
    return [replace(image, index=start + i) for i, image in enumerate(images)]


_MAX_BATCHES = 50


class FileBatches:
    """Starts file batches and finds them by id.

    Args:
        submit: Queues a request, with the function that saves its images.
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
        """Start a batch that runs one request per file, one after another.

        Args:
            files: Image files on the server.
            make_request: See FileBatch.
            folder: Name of a folder inside outputs, where images are named after their files; "" saves as usual.
        """

        def submit(request: GenerationRequest, file: Path) -> Job:
            destination = Destination(folder, file.stem) if folder else None
            return self._submit(request, partial(self._image_saver.save, destination=destination))

        batch = FileBatch(files, make_request, submit)
        self._batches[batch.id] = batch
        for old in list(self._batches)[:-_MAX_BATCHES]:
            self._batches.pop(old, None)
        batch.start()
        return batch

    def find(self, batch_id: str) -> FileBatch | None:
        """Return a batch, or None if it is unknown or too old."""
        return self._batches.get(batch_id)

    def interrupt_all(self) -> None:
        """Interrupt all batches."""
        for batch in list(self._batches.values()):
            batch.interrupt()
