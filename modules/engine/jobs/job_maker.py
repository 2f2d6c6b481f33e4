"""Creates jobs from plans and from stored records; input images of queued jobs stay on disk until they run."""

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
from modules.params.requests.base import GenerationRequest
from modules.params.results import GeneratedImage
from modules.params.settings import Settings
from modules.plan.plan import Plan

logger = logging.getLogger(__name__)


class QueueHooks(Protocol):
    """Callbacks of the queue, implemented by the engine."""

    def plan(self, request: GenerationRequest, settings: Settings) -> Plan:
        """Return the plan of a request with these settings."""
        ...

    def save_image(self, plan: Plan, index: int, image: Image.Image) -> GeneratedImage:
        """Save one image."""
        ...

    def on_images_complete(self, job: Job) -> None:
        """Handle a job that will make no more images, before it ends."""
        ...

    def on_success(self, job: Job) -> None:
        """Handle a job that ended without an error."""
        ...


class JobMaker:
    """Creates jobs. Hundreds may be queued, so their input images stay on disk until they run.

    Args:
        store: Stores the input images.
        hooks: Plans requests and saves images.
    """

    def __init__(self, store: JobStore, hooks: QueueHooks) -> None:
        self._store = store
        self._hooks = hooks
        self._image_names: dict[str, Mapping[str, str]] = {}  # file names by job and field

    def create(self, plan: Plan, save: SaveImage | None = None, job_id: str = "") -> Job:
        """Return a new job.

        Args:
            plan: The plan to execute.
            save: Saves its images; the hooks do by default.
            job_id: The id of a restored job.
        """
        return Job(plan, save or self._hooks.save_image, self._store, job_id)

    def restore(self, record: JobRecord) -> Job | None:
        """Return a job of an earlier run, or None if it can no longer be planned; the store records the reason."""
        try:
            request, settings = self._store.restore_request(record.stored_request)
            job = self.create(self._hooks.plan(request, settings), job_id=record.id)
        except WebUIError as error:
            logger.warning("A waiting job of the last run cannot be restored: %s", error)
            self._store.log_end(replace(record.status(), state="failed", error=str(error)))
            return None
        self.unload_images(job, record.stored_request.image_names)
        return job

    def unload_images(self, job: Job, names: Mapping[str, str]) -> None:
        """Drop the input images of a queued job from memory; they are stored in files with these names, by field."""
        if names:
            self._image_names[job.id] = names
            job.plan = job.plan.without_images()

    def plan_with_images(self, job: Job) -> Plan:
        """Return the plan of a job with its input images loaded.

        Raises:
            NotFound: an image file is missing.
        """
        names = self._image_names.get(job.id, {})
        images = {field: self._store.input_image(name) for field, name in names.items()}
        return replace(job.plan, request=job.plan.request.model_copy(update=images))

    def forget(self, job: Job) -> None:
        """Forget the image file names of an ended job."""
        self._image_names.pop(job.id, None)
