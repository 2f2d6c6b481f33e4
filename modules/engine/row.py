"""What is stored of one job, as it is read back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

from modules.engine.frozen import Frozen, freeze
from modules.engine.job import Job, JobState, JobStatus
from modules.engine.line import Place
from modules.params.result import GeneratedImage, Progress


@dataclass(frozen=True)
class JobRow:
    """One job of the store.

    Args:
        place: Its number, id, source and round.
        state: Where it is in its life.
        frozen: What was asked; without the names of its pictures' files in listings.
        image_count: How many pictures were asked for.
        created: When it was sent, in seconds since 1970, as the other two.
        started: When the device began; None when it has not.
        ended: When it ended; None when it has not.
        error: One sentence when it failed or was cancelled.
        notes: What a user should know of the result.
        images: Finished pictures in order.
    """

    place: Place
    state: JobState
    frozen: Frozen
    image_count: int
    created: float
    started: float | None
    ended: float | None
    error: str
    notes: tuple[str, ...]
    images: tuple[GeneratedImage, ...]

    @property
    def id(self) -> str:
        """Return the job's name."""
        return self.place.job_id

    @cached_property
    def fields(self) -> dict[str, Any]:
        """Return the request's fields as JSON has them, without its pictures."""
        return cast("dict[str, Any]", json.loads(self.frozen.request))

    def status(self) -> JobStatus:
        """Return what is told of a job of which nothing but this is known any more."""
        made = self.image_count if self.state == "done" else len(self.images)
        return JobStatus(
            id=self.id,
            state=self.state,
            phase="Waiting" if self.state == "queued" else "",
            progress=Progress(made, self.image_count),
            images=self.images,
            image_count=self.image_count,
            notes=self.notes,
            error=self.error,
            failure=None,
            preview_number=0,
        )


def row_of(job: Job) -> JobRow:
    """Return the row of a job that the disk refused to store."""
    status = job.status()
    return JobRow(
        place=Place(0, 0, job.id, ""),
        state=status.state,
        frozen=freeze(job.plan.request, job.plan.settings, {}),
        image_count=status.image_count,
        created=0.0,
        started=None,
        ended=None,
        error=status.error,
        notes=status.notes,
        images=status.images,
    )


def notes_of(text: str) -> tuple[str, ...]:
    """Return the notes in a column of JSON."""
    return tuple(cast("Sequence[str]", json.loads(text)))
