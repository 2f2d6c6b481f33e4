"""Makes jobs of plans and of what an earlier run left, and leaves the pictures of waiting ones on the disk."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Protocol

from PIL import Image

from modules.core.errors import WebUIError
from modules.engine.frozen import thaw
from modules.engine.job import Job, Keep
from modules.engine.row import JobRow
from modules.engine.store import Store
from modules.params.requests.base import GenerationRequest
from modules.params.results import GeneratedImage
from modules.params.settings import Settings
from modules.plan.plan import Plan

logger = logging.getLogger(__name__)


class Owner(Protocol):
    """What the queue needs of the engine."""

    def plan(self, request: GenerationRequest, settings: Settings) -> Plan:
        """Return the plan of a request under these options."""
        ...

    def keep(self, plan: Plan, index: int, image: Image.Image) -> GeneratedImage:
        """Save one picture."""
        ...

    def on_made(self, job: Job) -> None:
        """Hear of a job whose pictures are all that will be, before it ends."""
        ...

    def on_done(self, job: Job) -> None:
        """Hear of a job that went well."""
        ...


class JobMaker:
    """Makes jobs. Hundreds may wait, so they hold none of the pictures that they were given until their turn.

    Args:
        store: Where the pictures lie.
        owner: Plans requests and saves pictures.
    """

    def __init__(self, store: Store, owner: Owner) -> None:
        self._store = store
        self._owner = owner
        self._pictures: dict[str, Mapping[str, str]] = {}  # names of files by job and field

    def new(self, plan: Plan, keep: Keep | None = None, job_id: str = "") -> Job:
        """Return a job.

        Args:
            plan: What to do.
            keep: Saves its pictures, if not the owner.
            job_id: Its name if it is known from before.
        """
        return Job(plan, keep or self._owner.keep, self._store, job_id)

    def again(self, row: JobRow) -> Job | None:
        """Return a job of an earlier run, or None when it cannot be planned any more; the store is told why."""
        try:
            request, settings = thaw(row.frozen, self._store.picture)
            job = self.new(self._owner.plan(request, settings), job_id=row.id)
        except WebUIError as error:
            logger.warning("A waiting job of the last run is lost: %s", error)
            self._store.ended(replace(row.status(), state="failed", error=str(error)))
            return None
        self.leave_pictures(job, row.frozen.pictures)
        return job

    def leave_pictures(self, job: Job, names: Mapping[str, str]) -> None:
        """Keep the pictures of a waiting job on the disk alone, in files of these names by field."""
        if names:
            self._pictures[job.id] = names
            job.plan = job.plan.without_images()

    def whole(self, job: Job) -> Plan:
        """Return the plan of a job with its pictures.

        Raises:
            NotFound: a file is gone.
        """
        names = self._pictures.get(job.id, {})
        pictures = {field: self._store.picture(name) for field, name in names.items()}
        return replace(job.plan, request=job.plan.request.model_copy(update=pictures))

    def forget(self, job: Job) -> None:
        """Forget where the pictures of an ended job lie."""
        self._pictures.pop(job.id, None)
