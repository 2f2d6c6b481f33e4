"""JobPlan: what the queue reads of the plan of every job, whether the job generates images or does something else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path

from typing_extensions import Self

from modules.images.filename import Destination
from modules.params.image import ImageField
from modules.params.requests.job_request import JobRequest
from modules.params.settings import Settings
from modules.plan.work import Work

DEFAULT_SETTINGS = Settings()


@dataclass(frozen=True, kw_only=True)
class JobPlan(Work[None]):
    """A request with everything that the device needs for its job, resolved at submission.

    Its function in the backend reports a `Phase` first, and what it makes by events.

    Args:
        request: The request, resolved so that planning it again gives the same job.
        settings: Settings of this job.
        notes: Sentences for the user, known before the job runs.
        created_at: Time of submission.
    """

    request: JobRequest
    settings: Settings = DEFAULT_SETTINGS
    notes: tuple[str, ...] = ()
    created_at: datetime = field(default_factory=datetime.now, compare=False)

    @property
    def image_count(self) -> int:
        """Return how many images the job makes; one that makes none ends with its notes alone."""
        return 0

    @property
    def label(self) -> str:
        """Return what the log calls the job by."""
        return self.request.task

    @property
    def model_paths(self) -> tuple[Path, ...]:
        """Return the model files that it reads, which must not be moved until it has ended."""
        return ()

    @property
    def changed_kinds(self) -> tuple[str, ...]:
        """Return the kinds of model files that it adds, whose folders are read again when it is done."""
        return ()

    def image_seed(self, index: int) -> int:
        """Return the seed of one of its images; 0 for one that was not drawn from noise."""
        del index
        return 0

    def image_infotext(self, index: int) -> str:
        """Return the infotext of one of its images; the one of a generated image is made when it is saved."""
        del index
        return ""

    def image_chunks(self, index: int) -> Mapping[str, str]:
        """Return the texts by name for one of its images in a format with room for several; none for its infotext alone."""
        del index
        return {}

    def image_destination(self) -> Destination | None:
        """Return folder and name of its images; None for those of the settings."""
        return None

    def without_images(self) -> Self:
        """Return a copy without input images, to keep after the job has ended."""
        return replace(self, request=self.request.without_images())

    def with_images(self, images: Mapping[str, ImageField]) -> Self:
        """Return a copy with the input images of its request, by field, to run."""
        return replace(self, request=self.request.with_images(images))
