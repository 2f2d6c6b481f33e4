"""A group of jobs: a script's cells run one after another, followed by page and API like one job."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial

from modules.core.errors import Cancelled, UserError, WebUIError
from modules.core.text import escape
from modules.engine.image_saver import ImageSaver
from modules.engine.jobs.cell_run import CellRun, GroupSpec
from modules.engine.jobs.group_progress import current_preview, overall_progress, phase_text
from modules.engine.jobs.group_record import CellAttempt, CellSummary
from modules.engine.jobs.job import Job
from modules.engine.jobs.job_record import renumber
from modules.engine.jobs.job_status import ENDED_STATES, Completion, JobState, JobStatus
from modules.engine.jobs.queue import JobQueue
from modules.params.requests.job_request import JobRequest
from modules.params.results import GeneratedImage
from modules.scripts.protocol import Cell, CellResult, ScriptImage

logger = logging.getLogger(__name__)

# Of a group without a current cell.
_PHASES: Mapping[JobState, str] = {"queued": "Waiting", "done": "", "failed": "", "cancelled": ""}
_SUSPENDED = "The server was stopped; this goes on at its next start."


class JobGroup:
    """A running script with the interface of a job.

    The generator runs in a thread of its own. Cells that ended before a restart are answered from the store, in the
    order in which the script yields them.

    Args:
        spec: The script with its request and arguments.
        queue: Runs the jobs and has the job store.
        image_saver: Saves their images.
    """

    def __init__(self, spec: GroupSpec, queue: JobQueue, image_saver: ImageSaver) -> None:
        self.id = spec.id
        self.spec = spec
        self.created_at = datetime.now()  # in this run
        self.recorded_jobs: dict[str, Job] = {}  # of this run, by the cell's name
        self._queue = queue
        self._saver = image_saver
        self._count = spec.script.cell_count(spec.args)
        self._lock = threading.Lock()
        self._cell_ended = threading.Condition()
        self._is_interrupted = threading.Event()
        self._is_suspended = threading.Event()
        self._ended = Completion()
        self._state: JobState = "queued"
        self._request: JobRequest = spec.request.without_images()
        self._runs: tuple[CellRun, ...] = ()  # the current cells, in order
        self._ended_count = 0
        self._done_count = 0
        self._has_success = False  # of a cell, with images or without
        self._images: list[GeneratedImage] = []
        self._cells: list[CellSummary] = []  # those that have ended
        self._control_maps: dict[bytes, None] = {}  # as a set, in order
        self._notes: list[str] = []
        self._noted: set[str] = set()  # without the names of the cells
        self._errors: list[str] = []
        self._error = ""
        self._exception: WebUIError | None = None

    def start(self) -> None:
        """Start or go on, in a separate thread."""
        with self._lock:
            if self._state != "queued":
                return
            self._state = "running"
        threading.Thread(target=self._run, name="job group", daemon=True).start()

    # What a job can do

    def status(self) -> JobStatus:
        """Return a snapshot: images and notes of all cells so far, and the progress of the current ones."""
        with self._lock:
            runs, images, notes = self._runs, list(self._images), tuple(self._notes)
            state, error, exception = self._state, self._error, self._exception
            ended_count = self._ended_count
        for run in runs:
            if run.cell.is_shown:
                images += renumber(run.images(), len(images))
        count = max(self._count, ended_count)
        return JobStatus(
            id=self.id,
            state=state,
            phase=phase_text(runs, count, self.spec.script.noun, self._queue)
            if state == "running"
            else _PHASES[state],
            progress=overall_progress(runs, ended_count, count),
            images=tuple(images),
            image_count=max(count, len(images)),
            notes=notes,
            error=error,
            exception=exception,
            preview_number=current_preview(runs)[0],
        )

    def cells(self) -> list[CellSummary]:
        """Return the cells that have begun, in order."""
        with self._lock:
            cells, runs, count = list(self._cells), self._runs, len(self._images)
        for run in runs:
            images = len(run.images()) if run.cell.is_shown else 0
            cells.append(CellSummary("running", count, images))
            count += images
        return cells

    def answered_images(self) -> list[GeneratedImage]:
        """Return the images in the order of A1111's answers: what the script has made, then those of the cells.

        Cells of a table come row by row, in whichever order they ran.
        """
        table, images = self.spec.script.table, self.status().images
        made = [image for image in images if image.kind == "grid"]
        if table is None:
            return made + [image for image in images if image.kind != "grid"]
        places = table(self.spec.args).places
        cells = sorted(enumerate(self.cells()), key=lambda cell: tuple(reversed(places[cell[0]])))
        for _, cell in cells:
            made += images[cell.first_image : cell.first_image + cell.image_count]
        return made

    @property
    def request(self) -> JobRequest:
        """Return the latest job's request, without its images."""
        return self._request

    @property
    def errors(self) -> tuple[str, ...]:
        """Return why cells failed or were cancelled, one sentence each."""
        with self._lock:
            return tuple(self._errors)

    @property
    def is_suspended(self) -> bool:
        """Return whether it has ended for this run alone."""
        return self._is_suspended.is_set() and self._state == "cancelled"

    def watch(self) -> None:
        """Note that a client is watching, so that previews are worth making."""
        for job in self._jobs():
            job.watch()

    def preview(self) -> bytes:
        """Return the latest preview as JPEG, or b"" if there is none."""
        with self._lock:
            runs = self._runs
        return current_preview(runs)[1]

    def depth_map(self) -> bytes:
        """Return b"": each cell has its own depth map."""
        return b""

    def control_maps(self) -> tuple[bytes, ...]:
        """Return the preprocessed control pictures of this run's cells as PNG, each image once; of some scripts alone."""
        with self._lock:
            return tuple(self._control_maps)

    def interrupt(self) -> None:
        """Stop the current cells at their next step and omit the remaining ones."""
        self._is_interrupted.set()
        if self._is_waiting():
            self._end_stopped()
        self.skip()

    def skip(self) -> None:
        """Continue with the next cells; finished images of the current ones are kept."""
        for job in self._jobs():
            job.interrupt()

    def suspend(self) -> None:
        """End for this run alone: the next start goes on with the first cell that has not ended."""
        if self._ended.is_set():
            return
        self._is_suspended.set()
        if self._is_waiting():
            self._end_stopped()

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait at most `timeout_s` for the end of the group and return whether it has ended."""
        return self._ended.wait(timeout_s)

    def add_done_callback(self, callback: Callable[[], object]) -> None:
        """Call `callback` once the group has ended, on the thread that ends it; at once if it has ended already."""
        self._ended.add_callback(callback)

    # The script's thread

    def _run(self) -> None:
        script = self.spec.script
        try:
            self._drive()
        except Cancelled as error:
            self._end("cancelled", str(error))
        except WebUIError as error:
            self._end("failed", str(error), error)
        except BaseException:  # a script may come with an extension, and even end the program
            logger.exception("The script '%s' failed.", script.name)
            self._end("failed", f"The script '{script.name}' failed; the log has the details.")

    def _drive(self) -> None:
        """Run the generator to its end."""
        attempts: dict[int, list[CellAttempt]] = {}
        for attempt in self._queue.store.groups.attempts(self.id):
            attempts.setdefault(attempt.position, []).append(attempt)
        generator = self.spec.script.run(self.spec.request, self.spec.args)
        try:
            cells = next(generator)
            while True:
                results = self._run_cells(cells, attempts)
                if self._is_stopped():
                    break
                cells = generator.send(results)
        except StopIteration as end:
            self._save_images(end.value.images)
            with self._lock:
                self._notes += map(escape, end.value.notes)
                state: JobState = "done" if self._images or self._has_success else "failed"
            self._end(state, "")
        else:
            self._end_stopped()
        finally:
            generator.close()

    def _run_cells(
        self, cells: Sequence[Cell], attempts: Mapping[int, Sequence[CellAttempt]]
    ) -> list[CellResult]:
        """Run cells at the same time and return how they ended; after a stop, only of those that had begun."""
        self._count = max(self._count, self._ended_count + len(cells))
        results: list[CellResult] = []
        for position, cell in enumerate(cells, self._ended_count):
            self._wait_for_slot()
            results += self._collect_results(waits=False)
            run = CellRun(
                self.spec, cell, position, attempts.get(position, ()), self._queue, self._saver
            )
            if not self._start(run):
                break
            run.add_done_callback(self._on_cell_end)
        return results + self._collect_results(waits=True)

    def _wait_for_slot(self) -> None:
        """Wait until fewer cells are left than there are slots; their number changes when workers come and go."""
        if not self.spec.script.waits_for_slots:
            return
        with self._cell_ended:
            while self._unended_count() >= max(1, self._queue.slots):
                self._cell_ended.wait()

    def _unended_count(self) -> int:
        return sum(not run.has_ended() for run in self._runs)

    def _on_cell_end(self) -> None:
        with self._cell_ended:
            self._cell_ended.notify_all()

    def _start(self, run: CellRun) -> bool:
        """Start a cell and return whether it was started: after a stop none is."""
        if self._is_stopped():
            return False
        with self._lock:
            self._runs = (*self._runs, run)
        run.start()
        if run.request is not None:
            self._request = run.request
        if run.job is not None and run.cell.is_recorded:
            self.recorded_jobs[run.cell.name] = run.job
        if self._is_stopped():  # since the check above
            run.interrupt()
        return True

    def _collect_results(self, waits: bool) -> list[CellResult]:
        """Remove cells that have ended and return their results, in order.

        Args:
            waits: Whether to wait for all current cells; else it is done at the first one that has not ended.
        """
        results: list[CellResult] = []
        while self._runs and (waits or self._runs[0].has_ended()):
            run = self._runs[0]
            result = run.wait_for_result(self._is_suspended.is_set)
            results.append(result)
            with self._lock:
                self._add(run.cell, result)
                if self.spec.script.shows_control_maps and run.job is not None:
                    self._control_maps |= dict.fromkeys(run.job.control_maps())
                self._runs = self._runs[1:]
        return results

    def _add(self, cell: Cell, result: CellResult) -> None:
        """Add the result of a cell; the caller holds the lock."""
        images = result.images if cell.is_shown else ()
        self._cells.append(
            CellSummary(result.state, len(self._images), len(images), escape(result.error))
        )
        self._images += renumber(images, len(self._images))
        self._ended_count += 1
        self._has_success |= result.state == "done"
        self._done_count += not self._is_stopped() or result.state == "done"
        if result.error:
            self._errors.append(result.error)
        if not cell.name and result.state == "cancelled":
            self._error = result.error  # the sentence of the script's only job says more
        # The cells of a chosen script differ by little, and most of their notes not at all.
        known = self._noted if self.spec.script.tasks else frozenset[str]()
        notes = [note for note in result.notes if note not in known]
        self._noted.update(notes)
        notes += [result.error] if result.state == "failed" and cell.name else []
        self._notes += [escape(f"{cell.name}: {note}" if cell.name else note) for note in notes]

    def _save_images(self, images: Sequence[ScriptImage]) -> None:
        """Save what the script has made of its cells' images, unless an earlier run has.

        Raises:
            WebUIError: an image cannot be saved.
        """
        store = self._queue.store
        saved = store.groups.own_images(self.id)
        if images[len(saved) :]:
            plan = self._queue.make_plan(self.spec.request, self.spec.settings)
            for position, image in enumerate(images[len(saved) :], len(saved)):
                announce = partial(store.log_image, self.id, position)
                try:
                    saved.append(self._saver.save_script_image(plan, image, announce))
                except UserError as error:  # it cannot be drawn
                    with self._lock:
                        self._notes.append(escape(str(error)))
        with self._lock:
            self._images += renumber(saved, len(self._images))

    # The end

    def _is_stopped(self) -> bool:
        return self._is_interrupted.is_set() or self._is_suspended.is_set()

    def _is_waiting(self) -> bool:
        with self._lock:
            return self._state == "queued"

    def _end_stopped(self) -> None:
        noun = self.spec.script.noun
        interrupted = f"Interrupted: {self._done_count} of {self._count} {noun}s were finished."
        is_interrupted = self._is_interrupted.is_set() and not self._is_suspended.is_set()
        self._end("cancelled", (self._error or interrupted) if is_interrupted else _SUSPENDED)

    def _end(self, state: JobState, error: str, exception: WebUIError | None = None) -> None:
        with self._lock:
            if self._state in ENDED_STATES:
                return
            self._state, self._error, self._exception = state, escape(error), exception
            self._runs = ()
            notes = tuple(self._notes)
        try:
            if not self._is_suspended.is_set():
                self._queue.store.groups.log_end(self.id, state, error, notes)
                self._queue.store.release_group(self.id)
        except Exception:  # no error of the store may leave the group without an end
            logger.exception("The end of a group of jobs could not be stored.")
        self._ended.set()

    # Snapshots

    def _jobs(self) -> list[Job]:
        """Return the jobs of the current cells."""
        with self._lock:
            return [run.job for run in self._runs if run.job is not None]
