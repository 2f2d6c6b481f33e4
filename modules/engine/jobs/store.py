"""Stores every job and finished image in one SQLite file, so that they survive a restart and a closed browser."""

from __future__ import annotations

import json
import logging
import sqlite3
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from modules.core.errors import NotFound
from modules.engine.jobs.database.database import Database
from modules.engine.jobs.database.migrations import MIGRATIONS, Migration
from modules.engine.jobs.fair_queue import QueuePosition
from modules.engine.jobs.group_store import GroupStore, recover_groups
from modules.engine.jobs.input_images import InputImageStore
from modules.engine.jobs.job_record import (
    JobRecord,
    delete_images_without_file,
    path_from_row,
    read_images,
    record_from_rows,
    storable_path,
    storable_seed,
)
from modules.engine.jobs.job_status import JobStatus
from modules.engine.jobs.stored_request import (
    StoredRequest,
    deserialize,
    serialize,
)
from modules.params.image import ImageField
from modules.params.requests.job_request import JobRequest
from modules.params.results import GeneratedImage
from modules.params.settings import Settings
from modules.plan.jobs.kinds import find_request_class

logger = logging.getLogger(__name__)

# Records of ended jobs beyond this number are deleted, oldest first; their images stay in the outputs folder.
MAX_ENDED = 10_000
# This many failed and cancelled jobs keep their input images, so that they can be retried, and as many finished ones those
# of their ControlNet units, so that their images can be reproduced.
MAX_RETRIABLE = 50
_UNIT_IMAGES = "control_units.%"
_STOPPED_ERROR = "The server was stopped while it ran{finished}."


class JobStore:
    """Persistent storage of the queue. Opens its file when first used; thread-safe.

    Write errors are reported once, and the jobs continue without being stored.

    Args:
        folder: Contains the file and the input images of requests.
        find_class: Returns the class of a task's requests.
        settings_class: Declares the options of a job.
        max_ended: How many ended jobs are kept.
        max_retriable: How many failed and cancelled jobs keep their input images.
        migrations: Make the tables of this program's version.

    Attributes:
        groups: Stores groups of jobs.
    """

    def __init__(
        self,
        folder: Path,
        find_class: Callable[[str], type[JobRequest]] = find_request_class,
        settings_class: type[Settings] = Settings,
        max_ended: int = MAX_ENDED,
        max_retriable: int = MAX_RETRIABLE,
        migrations: Sequence[Migration] = MIGRATIONS,
    ) -> None:
        self._find_class = find_class
        self._settings_class = settings_class
        self._database = Database(folder / "jobs.sqlite", self._recover, migrations)
        self.groups = GroupStore(self._database)
        self._input_images = InputImageStore(folder / "pictures")
        self._max_ended = max_ended
        self._max_retriable = max_retriable
        self._leftover_ids: list[str] = []

    # Lifecycle

    def warning(self) -> str:
        """Return a warning about the file for the user; empty if there is no problem."""
        return self._database.warning()

    def take_leftover_jobs(self) -> list[JobRecord]:
        """Return the jobs that were queued when the last server stopped, in order; each only once."""
        with self._database.lock:
            self._database.open()
            ids, self._leftover_ids = self._leftover_ids, []
        return [record for job_id in ids if (record := self._leftover_job(job_id)) is not None]

    def close(self) -> None:
        """Close the file; later events are not stored."""
        self._database.close()

    # Job events

    @contextmanager
    def hold_request(self, request: JobRequest, settings: Settings) -> Generator[StoredRequest]:
        """Yield the stored form of a request, its input images written; call `add` inside the block."""
        names: dict[str, str] = {}
        try:
            names = self._input_images.hold(request.input_images() if self.is_durable() else {})
        except OSError as error:
            self._database.warn_once(error)
        try:
            yield serialize(request, settings, names)
        finally:
            self._input_images.release(names.values())

    def add(self, position: QueuePosition, stored_request: StoredRequest, image_count: int) -> bool:
        """Store a new job; return whether it outlives the server."""
        job = {
            "id": position.job_id,
            "source": position.source,
            "round": position.round,
            "number": position.number,
            "state": "queued",
            "task": stored_request.task,
            "request": stored_request.request,
            "settings": stored_request.settings,
            "image_count": image_count,
            "created": _now(),
        }
        input_images = [
            {"owner_id": position.job_id, "field": field, "name": name}
            for field, name in stored_request.image_names.items()
        ]
        with self._database.lock:
            stored = self._database.insert("jobs", [job])
            return stored and (
                not input_images or self._database.insert("input_images", input_images)
            )

    def log_start(self, job_id: str) -> None:
        """Record that the device has started the job."""
        self._database.write(
            "UPDATE jobs SET state = 'running', started = ? WHERE id = ?", (_now(), job_id)
        )

    def log_image(self, job_id: str, position: int, image: GeneratedImage) -> None:
        """Record a finished image of a job or a group whose file is about to be made; again if its path has changed."""
        requests = self._database.select_column(
            "SELECT request FROM jobs WHERE id = ? UNION ALL SELECT request FROM groups WHERE id = ?",
            (job_id, job_id),
        )
        fields = cast("dict[str, Any]", json.loads(requests[0])) if requests else {}
        row = {
            "job_id": job_id,
            "position": position,
            "image_index": image.index,
            "path": storable_path(image.path),
            "created": _now(),
            "model": fields.get("sd_model_checkpoint", ""),
            "width": image.size[0],
            "height": image.size[1],
            "seed": storable_seed(image.seed),
            "prompt": fields.get("prompt", ""),
            "infotext": image.infotext,
            "warning": image.warning,
            "kind": image.kind,
        }
        with self._database.lock:
            self.forget_image(job_id, position)
            self._database.insert("images", [row])

    def forget_image(self, job_id: str, position: int) -> None:
        """Delete the record of an image whose file could not be made."""
        self._database.write(
            "DELETE FROM images WHERE job_id = ? AND position = ?", (job_id, position)
        )

    def log_end(self, status: JobStatus) -> None:
        """Record how a job ended, and delete input images that no job needs."""
        notes = json.dumps(status.notes, ensure_ascii=False)
        with self._database.lock:
            self._database.write(
                "UPDATE jobs SET state = ?, ended = ?, error = ?, notes = ? WHERE id = ?",
                (status.state, _now(), status.error, notes, status.id),
            )
            self._delete_unused_images(status)

    def update_positions(self, positions: Iterable[QueuePosition]) -> None:
        """Store changed queue positions."""
        rows = [(position.round, position.number, position.job_id) for position in positions]
        self._database.write_all("UPDATE jobs SET round = ?, number = ? WHERE id = ?", rows)

    # Queries

    def is_durable(self) -> bool:
        """Return whether jobs outlive the server."""
        return self._database.is_durable()

    def record(self, job_id: str) -> JobRecord:
        """Return the record of a job.

        Raises:
            NotFound: it is not stored.
        """
        records = self._select_records("WHERE id = ?", (job_id,))
        if not records:
            raise NotFound(
                "This job is no longer known.", "Its pictures are in the outputs folder."
            )
        return records[0]

    def active_jobs(self, limit: int) -> list[JobRecord]:
        """Return the running jobs, then the queued ones in order."""
        running = self._select_records("WHERE state = 'running'", ())
        return running + self._select_records(
            "WHERE state = 'queued' ORDER BY round, number, id LIMIT ?", (limit,)
        )

    def waiting_count(self) -> int:
        """Return the number of queued jobs."""
        return sum(
            map(
                int,
                self._database.select_column("SELECT count(*) FROM jobs WHERE state = 'queued'"),
            )
        )

    def ended_jobs(self, limit: int) -> list[JobRecord]:
        """Return ended jobs, latest first."""
        return self._select_records("WHERE ended IS NOT NULL ORDER BY ended DESC LIMIT ?", (limit,))

    def last_use_of_checkpoints(self) -> dict[str, float]:
        """Return by checkpoint name when its latest image was made, in seconds since the epoch."""
        rows = self._database.select("SELECT model, max(created) FROM images GROUP BY model")
        return {str(model): float(created) for model, created in rows}

    def latest_infotexts(self, limit: int) -> list[tuple[str, float]]:
        """Return the infotexts of the latest images and when they were made, in seconds since the epoch; latest first."""
        rows = self._database.select(
            "SELECT infotext, created FROM images ORDER BY id DESC LIMIT ?", (limit,)
        )
        return [(str(infotext), float(created)) for infotext, created in rows]

    def restore_request(self, stored_request: StoredRequest) -> tuple[JobRequest, Settings]:
        """Return a stored request, with its input images, and the settings at its submission.

        Raises:
            NotFound: an input image is no longer stored.
            UserError: it was stored by a version with other fields.
        """
        return deserialize(stored_request, self.input_image, self._find_class, self._settings_class)

    def input_image(self, name: str) -> ImageField:
        """Return an input image by its file name.

        Raises:
            NotFound: it is no longer stored.
        """
        return self._input_images.read(name)

    def find_image_job(self, infotext: str) -> JobRecord | None:
        """Return the latest job that made an image with an infotext, None if no stored one did."""
        found = self._select_records(
            "WHERE id IN (SELECT job_id FROM images WHERE infotext = ?)"
            " ORDER BY created DESC LIMIT 1",
            (infotext,),
        )
        return found[0] if found else None

    # Input images of groups

    def release_group(self, group_id: str) -> None:
        """Delete the input images of a group that has ended, unless a job needs them."""
        if self.is_durable():
            self._delete_input_images(group_id)

    # The file

    def _recover(self, connection: sqlite3.Connection) -> None:
        """Mark jobs that ran when the last server stopped as failed, and delete records beyond the limits."""
        with connection:
            delete_images_without_file(connection)
            running = connection.execute(
                "SELECT id, image_count,"
                " (SELECT count(*) FROM images WHERE job_id = jobs.id) AS finished_count"
                " FROM jobs WHERE state = 'running'"
            ).fetchall()
            connection.executemany(
                "UPDATE jobs SET state = 'failed', ended = ?, error = ? WHERE id = ?",
                [(_now(), _stopped_error(job), job["id"]) for job in running],
            )
            recover_groups(connection)
            self._delete_old_jobs(connection)
            connection.execute(
                "DELETE FROM input_images WHERE owner_id NOT IN"
                " (SELECT id FROM jobs UNION SELECT id FROM groups)"
            )
        queued = connection.execute(
            "SELECT id FROM jobs WHERE state = 'queued' ORDER BY round, number, id"
        )
        self._leftover_ids = [job["id"] for job in queued]
        self._input_images.prune(
            image["name"] for image in connection.execute("SELECT name FROM input_images")
        )

    def _delete_old_jobs(self, connection: sqlite3.Connection) -> None:
        """Delete the records of ended jobs beyond the limit; the rows of their images stay while there are files."""
        old_jobs = (
            "(SELECT id FROM jobs WHERE ended IS NOT NULL ORDER BY ended DESC LIMIT -1 OFFSET ?)"
        )
        limit = (self._max_ended,)
        images = connection.execute(
            f"SELECT id, path FROM images WHERE job_id IN {old_jobs}", limit
        ).fetchall()
        deleted = [(image["id"],) for image in images if not path_from_row(image).exists()]
        connection.executemany("DELETE FROM images WHERE id = ?", deleted)
        connection.execute(f"DELETE FROM jobs WHERE id IN {old_jobs}", limit)

    def _delete_unused_images(self, status: JobStatus) -> None:
        """Delete the input images of a successful job, but not those of its units, and all of the jobs beyond the limit."""
        if not self.is_durable():
            return
        is_done = status.state == "done"
        if is_done:
            self._delete_input_images(status.id, kept_fields=_UNIT_IMAGES)
        for job_id in self._database.select_column(
            "SELECT id FROM jobs WHERE ended IS NOT NULL AND (state = 'done') = ?"
            " AND id IN (SELECT owner_id FROM input_images)"
            " ORDER BY ended DESC LIMIT -1 OFFSET ?",
            (is_done, self._max_retriable),
        ):
            self._delete_input_images(job_id)

    def _delete_input_images(self, owner_id: str, kept_fields: str = "") -> None:
        """Delete the input images of a job or a group that nothing else needs, but not those of fields like `kept_fields`."""
        of_owner = "WHERE owner_id = ? AND field NOT LIKE ?", (owner_id, kept_fields)
        with self._database.lock:
            names = self._database.select_column(
                f"SELECT name FROM input_images {of_owner[0]}", of_owner[1]
            )
            self._database.write(f"DELETE FROM input_images {of_owner[0]}", of_owner[1])
            self._input_images.drop(name for name in names if not self._is_image_referenced(name))

    def _is_image_referenced(self, name: str) -> bool:
        return bool(
            self._database.select_column(
                "SELECT owner_id FROM input_images WHERE name = ? LIMIT 1", (name,)
            )
        )

    def _leftover_job(self, job_id: str) -> JobRecord | None:
        """Return a job of the last run, or None if its row cannot be read."""
        try:
            return self.record(job_id)
        except (NotFound, ValueError, TypeError, LookupError) as error:
            logger.warning("A waiting job of the last run cannot be read: %s", error)
            return None

    def _select_records(self, where: str, values: tuple[object, ...]) -> list[JobRecord]:
        with self._database.lock:
            jobs = self._database.select(f"SELECT * FROM jobs {where}", values)
            return [self._read_record(job) for job in jobs]

    def _read_record(self, job: sqlite3.Row) -> JobRecord:
        job_id = (job["id"],)
        images = self._database.select(
            "SELECT * FROM images WHERE job_id = ? ORDER BY position", job_id
        )
        input_images = self._database.select(
            "SELECT * FROM input_images WHERE owner_id = ?", job_id
        )
        return record_from_rows(job, read_images(images), input_images)


def _stopped_error(job: sqlite3.Row) -> str:
    """Return the error of a job that was running when the server was stopped."""
    count, finished = job["finished_count"], ""
    if job["image_count"]:  # else it makes none
        are = "1 picture was" if count == 1 else f"{count} pictures were"
        finished = f"; {are} finished"
    return _STOPPED_ERROR.format(finished=finished)


def _now() -> float:
    return time.time()
