"""Makes jobs of plans and of what an earlier run left, and leaves the pictures of waiting ones on the disk."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Protocol

from PIL import Image

from modules.core.errors import WebUIError
from modules.engine.jobs.job import Job, SaveImage
from modules.engine.jobs.job_record import JobRecord
from modules.engine.jobs.store import JobStore
from modules.engine.jobs.stored_request import deserialize
from modules.params.requests.base import GenerationRequest
from modules.params.results import GeneratedImage
from modules.params.settings import Settings
from modules.plan.plan import Plan

logger = logging.getLogger(__name__)


class QueueHooks(Protocol):
    """What the queue needs of the engine."""

    def plan(self, request: GenerationRequest, settings: Settings) -> Plan:
        """Return the plan of a request under these options."""
        ...

    def save_image(self, plan: Plan, index: int, image: Image.Image) -> GeneratedImage:
        """Save one picture."""
        ...

    def on_images_complete(self, job: Job) -> None:
        """Hear of a job whose pictures are all that will be, before it ends."""
        ...

    def on_success(self, job: Job) -> None:
        """Hear of a job that went well."""
        ...


class JobMaker:
    """Makes jobs. Hundreds may wait, so they hold none of the pictures that they were given until their turn.

    Args:
        store: Where the pictures lie.
        hooks: Plans requests and saves pictures.
    """

    def __init__(self, store: JobStore, hooks: QueueHooks) -> None:
        self._store = store
        self._hooks = hooks
        self._image_names: dict[str, Mapping[str, str]] = {}  # names of files by job and field

    def create(self, plan: Plan, save: SaveImage | None = None, job_id: str = "") -> Job:
        """Return a job.

        Args:
            plan: What to do.
            save: Saves its pictures, if not the owner.
            job_id: Its name if it is known from before.
        """
        return Job(plan, save or self._hooks.save_image, self._store, job_id)

    def restore(self, record: JobRecord) -> Job | None:
        """Return a job of an earlier run, or None when it cannot be planned any more; the store is told why."""
        try:
            request, settings = deserialize(record.stored_request, self._store.input_image)
            job = self.create(self._hooks.plan(request, settings), job_id=record.id)
        except WebUIError as error:
            logger.warning("A waiting job of the last run is lost: %s", error)
            self._store.log_end(replace(record.status(), state="failed", error=str(error)))
            return None
        self.unload_images(job, record.stored_request.image_names)
        return job

    def unload_images(self, job: Job, names: Mapping[str, str]) -> None:
        """Keep the pictures of a waiting job on the disk alone, in files of these names by field."""
        if names:
            self._image_names[job.id] = names
            job.plan = job.plan.without_images()

    def plan_with_images(self, job: Job) -> Plan:
        """Return the plan of a job with its pictures.

        Raises:
            NotFound: a file is gone.
        """
        names = self._image_names.get(job.id, {})
        pictures = {field: self._store.input_image(name) for field, name in names.items()}
        return replace(job.plan, request=job.plan.request.model_copy(update=pictures))

    def forget(self, job: Job) -> None:
        """Forget where the pictures of an ended job lie."""
        self._image_names.pop(job.id, None)
