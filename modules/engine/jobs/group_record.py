"""The stored records of a group of jobs and of its cells."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from modules.engine.jobs.job_status import JobState, JobStatus
from modules.engine.jobs.stored_request import StoredRequest
from modules.params.events import Progress
from modules.params.results import GeneratedImage
from modules.scripts.protocol import CellState


@dataclass(frozen=True)
class GroupRecord:
    """One group of the job store.

    Args:
        id: Its id, impossible to guess, like that of a job.
        script: Name of its script.
        args: The script's arguments as JSON.
        stored_request: The request that the script starts from.
        source: Name of the client that started it.
        state: Its lifecycle state; a group that a restart interrupted is still running.
        error: One sentence if it failed or was cancelled.
        notes: Notes on the result for the user.
        images: Finished images in order.
    """

    id: str
    script: str
    args: str
    stored_request: StoredRequest
    source: str
    state: JobState
    error: str
    notes: tuple[str, ...]
    images: tuple[GeneratedImage, ...]

    def read_args(self) -> dict[str, Any]:
        """Return the script's arguments by name."""
        return cast("dict[str, Any]", json.loads(self.args))

    def status(self) -> JobStatus:
        """Return the status of a group that is only known from this record."""
        count = len(self.images)
        return JobStatus(
            id=self.id,
            state=self.state,
            phase="",
            progress=Progress(count, count),
            images=self.images,
            image_count=count,
            notes=self.notes,
            error=self.error,
            exception=None,
            preview_number=0,
        )


@dataclass(frozen=True)
class CellAttempt:
    """One job of a cell; there is a second one when a restart interrupted the first.

    Args:
        position: Number of the cell, from 0, in the order in which the script yields.
        attempt: Number of the job, from 0.
        job_id: Its id; stored before the job itself, so that every job that runs belongs to a cell.
        state: How the cell ended; running until then.
        error: One sentence if it failed or was cancelled.
        notes: Notes on its images.
        is_shown: Whether the images are part of the group's.
    """

    position: int
    attempt: int
    job_id: str
    state: CellState | Literal["running"] = "running"
    error: str = ""
    notes: tuple[str, ...] = ()
    is_shown: bool = True


@dataclass(frozen=True)
class CellSummary:
    """A cell as a table shows it.

    Args:
        state: How it ended; "running" until then, "queued" before its turn.
        first_image: Position of its first image among those of the group.
        image_count: Number of its images so far; 0 for a cell that is not shown.
        error: One sentence if it failed or was cancelled.
    """

    state: CellState | Literal["running", "queued"]
    first_image: int
    image_count: int
    error: str = ""


def summarize_cells(rows: Iterable[sqlite3.Row]) -> list[CellSummary]:
    """Return a group's cells from rows of their jobs, in order, each with `image_count`."""
    cells: dict[int, CellSummary] = {}
    count = 0
    for row in rows:
        earlier = cells.get(row["position"])
        own = row["image_count"] if row["is_shown"] else 0
        first, images = (earlier.first_image, earlier.image_count) if earlier else (count, 0)
        cells[row["position"]] = CellSummary(row["state"], first, images + own, row["error"])
        count += own
    return list(cells.values())


def group_from_row(
    row: sqlite3.Row, images: Iterable[GeneratedImage], input_images: Iterable[sqlite3.Row]
) -> GroupRecord:
    """Return a group from its rows."""
    names = {image["field"]: image["name"] for image in input_images}
    return GroupRecord(
        id=row["id"],
        script=row["script"],
        args=row["args"],
        stored_request=StoredRequest(row["task"], row["request"], row["settings"], names),
        source=row["source"],
        state=row["state"],
        error=row["error"],
        notes=read_notes(row),
        images=tuple(images),
    )


def attempt_from_row(row: sqlite3.Row) -> CellAttempt:
    """Return a cell's job from its row."""
    return CellAttempt(
        row["position"],
        row["attempt"],
        row["job_id"],
        row["state"],
        row["error"],
        read_notes(row),
        bool(row["is_shown"]),
    )


def read_notes(row: sqlite3.Row) -> tuple[str, ...]:
    """Return the notes of a job, a group or a cell from its row."""
    return tuple(cast("Sequence[str]", json.loads(row["notes"])))
