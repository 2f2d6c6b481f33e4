"""The jobs that waited when the last server stopped. A plan takes milliseconds, so many of them are planned at their turn."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from modules.core.errors import internal_error
from modules.engine.jobs.fair_queue import QueuePosition
from modules.engine.jobs.job import Job, SaveImage
from modules.engine.jobs.job_record import JobRecord
from modules.engine.jobs.store import JobStore
from modules.params.requests.job_request import JobRequest
from modules.params.settings import Settings
from modules.plan.job_plan import JobPlan

logger = logging.getLogger(__name__)

# Planned at the start, as many as the Queue tab lists and more: ten thousand plans would keep the page away for a minute.
_MAX_PLANNED_AT_START = 200


class RestoredJobs:
    """Waiting jobs of the last run. Not thread-safe: the queue holds its lock.

    Args:
        store: Keeps them.
        make_plan: Returns the plan of a request.
        save: Saves their images.
    """

    def __init__(
        self,
        store: JobStore,
        make_plan: Callable[[JobRequest, Settings], JobPlan],
        save: SaveImage,
    ) -> None:
        self._store = store
        self._make_plan = make_plan
        self._save = save
        self._later: dict[str, JobRecord] = {}  # those without a plan yet

    def read(self) -> tuple[list[Job], list[QueuePosition]]:
        """Return the first jobs, and the positions of them and of the others."""
        records = self._store.take_leftover_jobs()
        first, later = records[:_MAX_PLANNED_AT_START], records[_MAX_PLANNED_AT_START:]
        planned = [(record, job) for record in first if (job := self._plan(record)) is not None]
        self._later = {record.id: record for record in later}
        kept = [record for record, _ in planned] + later
        return [job for _, job in planned], [record.queue_position for record in kept]

    def plan(self, job_id: str) -> Job | None:
        """Return one of the other jobs, now planned; None if it is none of them, or can no longer be planned."""
        record = self._later.pop(job_id, None)
        return None if record is None else self._plan(record)

    def take_unplanned(self) -> Sequence[JobRecord]:
        """Return the other jobs and forget them; they stay in the store."""
        records, self._later = list(self._later.values()), {}
        return records

    def _plan(self, record: JobRecord) -> Job | None:
        """Return a job, or None if it can no longer be planned; the store records the reason."""
        try:
            request, settings = self._store.restore_request(record.stored_request)
            plan = self._make_plan(request, settings)
        except Exception as error:  # one record must not keep the others from running
            reason = internal_error(error)
            bug = None if reason is error else error
            logger.warning(
                "A waiting job of the last run cannot be restored: %s", reason, exc_info=bug
            )
            self._store.log_end(replace(record.status(), state="failed", error=str(reason)))
            return None
        job = Job(plan, self._save, self._store, record.id)
        unload_images(job, record.stored_request.image_names)
        return job


def unload_images(job: Job, names: Mapping[str, str]) -> None:
    """Drop the input images of a queued job from memory; they are in files with these names, by field."""
    if names:
        job.image_names = names
        job.plan = job.plan.without_images()
