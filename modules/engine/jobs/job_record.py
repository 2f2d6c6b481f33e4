"""The stored record of one job."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from modules.core.text import escape
from modules.engine.jobs.fair_queue import QueuePosition
from modules.engine.jobs.job_status import JobState, JobStatus
from modules.engine.jobs.stored_request import StoredRequest
from modules.params.events import Progress
from modules.params.results import GeneratedImage


@dataclass(frozen=True)
class JobRecord:
    """One job of the job store.

    Args:
        queue_position: Its number, id, source and round.
        state: Its lifecycle state.
        stored_request: The request; without its input images' file names in listings.
        image_count: The number of requested images.
        created: Time of submission, in seconds since 1970 like the next two.
        started: When the device started it; None if it has not.
        ended: When it ended; None if it has not.
        error: One sentence if it failed or was cancelled.
        notes: Notes on the result for the user.
        images: Finished images in order.
    """

    queue_position: QueuePosition
    state: JobState
    stored_request: StoredRequest
    image_count: int
    created: float
    started: float | None
    ended: float | None
    error: str
    notes: tuple[str, ...]
    images: tuple[GeneratedImage, ...]

    @property
    def id(self) -> str:
        """Return the job's id."""
        return self.queue_position.job_id

    @cached_property
    def request_fields(self) -> dict[str, Any]:
        """Return the request's fields as JSON values, without its input images."""
        return cast("dict[str, Any]", json.loads(self.stored_request.request))

    def status(self) -> JobStatus:
        """Return the status of a job that is only known from this record."""
        finished_count = self.image_count if self.state == "done" else len(self.images)
        return JobStatus(
            id=self.id,
            state=self.state,
            phase="Waiting" if self.state == "queued" else "",
            progress=Progress(finished_count, self.image_count),
            images=self.images,
            image_count=self.image_count,
            notes=self.notes,
            error=self.error,
            exception=None,
            preview_number=0,
        )


def record_from_rows(
    job: sqlite3.Row, images: Iterable[GeneratedImage], input_images: Iterable[sqlite3.Row]
) -> JobRecord:
    """Return a job from its rows in the tables of `engine/jobs/migrations`."""
    names = {image["field"]: image["name"] for image in input_images}
    return JobRecord(
        queue_position=QueuePosition(job["round"], job["number"], job["id"], job["source"]),
        state=job["state"],
        stored_request=StoredRequest(job["task"], job["request"], job["settings"], names),
        image_count=job["image_count"],
        created=job["created"],
        started=job["started"],
        ended=job["ended"],
        error=job["error"],
        notes=tuple(cast("Sequence[str]", json.loads(job["notes"]))),
        images=tuple(images),
    )


def read_images(rows: Iterable[sqlite3.Row]) -> list[GeneratedImage]:
    """Return the images of a job from their rows."""
    return [
        GeneratedImage(
            index=row["image_index"],
            seed=seed_from_row(row),
            infotext=row["infotext"],
            path=path_from_row(row),
            warning=row["warning"],
            size=(row["width"], row["height"]),
            kind=row["kind"],
        )
        for row in rows
    ]


def storable_path(path: Path) -> str | bytes:
    """Return the path of an image for its row: as bytes if it is not UTF-8."""
    text = str(path)
    return text if escape(text) == text else os.fsencode(path)


def path_from_row(row: sqlite3.Row) -> Path:
    """Return the path in the row of an image."""
    return Path(os.fsdecode(row["path"]))


def storable_seed(seed: int) -> int:
    """Return a seed for its row: SQLite's whole numbers have 63 bits and a sign, a seed 64 bits."""
    return seed - 2**64 if seed >= 2**63 else seed


def seed_from_row(row: sqlite3.Row) -> int:
    """Return the seed in the row of an image."""
    return row["seed"] % 2**64


def renumber(images: Iterable[GeneratedImage], start: int) -> list[GeneratedImage]:
    """Return the images of several jobs numbered as those of one, from `start`."""
    return [replace(image, index=start + i) for i, image in enumerate(images)]


def delete_images_without_file(connection: sqlite3.Connection) -> None:
    """Delete the record of an image whose file a kill has prevented: it is made again."""
    latest = connection.execute(
        "SELECT id, path, max(position) FROM images WHERE job_id IN"
        " (SELECT id FROM jobs WHERE state = 'running'"
        " UNION SELECT job_id FROM cells WHERE state = 'running'"
        " UNION SELECT id FROM groups WHERE ended IS NULL) GROUP BY job_id"
    ).fetchall()
    missing = [(image["id"],) for image in latest if _is_missing(Path(image["path"]))]
    connection.executemany("DELETE FROM images WHERE id = ?", missing)


def _is_missing(path: Path) -> bool:
    """Return whether there is no such file, or an empty one, in a folder that can be read."""
    return path.parent.is_dir() and not (path.is_file() and path.stat().st_size)
