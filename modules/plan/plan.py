"""A request with everything it needs, frozen at submission: deaf to whatever changes later."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime

from modules.models.manager import Checkpoint
from modules.models.model_spec import ModelSpec
from modules.models.upscalers import Upscaler
from modules.params.requests.base import GenerationRequest
from modules.params.requests.txt2img import (
    HiresSize,
)
from modules.params.settings import Settings
from modules.prompt.schedule import StepTimeline
from modules.sampling.samplers import Sampler
from modules.sampling.schedules import Schedule

DEFAULT_SETTINGS = Settings()


@dataclass(frozen=True)
class ImagePlan:
    """One picture of a job.

    Args:
        index: Its place among all pictures of the job.
        seed: The seed of its own noise generator.
        subseed: The seed of the noise that its variation leads to.
    """

    index: int
    seed: int
    subseed: int = 0


@dataclass(frozen=True)
class HiresPlan:
    """The second pass of a job.

    Args:
        size: To what the pictures of the first pass are enlarged.
        upscaler: By which row.
        plan: Of the pass itself, which repaints them: its size, words, sampler, schedule, checkpoint and options.
    """

    size: HiresSize
    upscaler: Upscaler
    plan: Plan


@dataclass(frozen=True)
class Plan:
    """All that the backend needs for one job.

    Args:
        request: The request, with its seeds drawn and its names spelled as in the tables.
        model: The checkpoint and what is chosen about it.
        sampler: The chosen sampler's row.
        schedule: The schedule's row, "Automatic" already replaced by what it stands for.
        batches: The pictures, batch by batch.
        settings: The options of this job; those without an effect on it stand at their defaults.
        notes: What the user should know before the pictures are made.
        hires: The second pass, if there is one.
        first_pass_evaluations: Those of the first pass, in the plan of a second one; None in a first.
        created_at: When it was asked for.
        record: Whether the way to the first picture is written down to be looked at, of two passes the first.
    """

    request: GenerationRequest
    model: ModelSpec
    sampler: Sampler
    schedule: Schedule
    batches: tuple[tuple[ImagePlan, ...], ...]
    settings: Settings = DEFAULT_SETTINGS
    notes: tuple[str, ...] = ()
    hires: HiresPlan | None = None
    first_pass_evaluations: int | None = None
    created_at: datetime = field(default_factory=datetime.now, compare=False)
    record: bool = False

    @property
    def checkpoint(self) -> Checkpoint:
        """Return the file to use."""
        return self.model.checkpoint

    @property
    def timeline(self) -> StepTimeline:
        """Return the evaluations in which prompt editing counts the steps."""
        evaluations = self.request.steps * self.sampler.evaluations_per_step
        return StepTimeline(
            evaluations, self.first_pass_evaluations, self.settings.use_old_scheduling
        )

    @property
    def images(self) -> tuple[ImagePlan, ...]:
        """Return all pictures in order."""
        return tuple(image for batch in self.batches for image in batch)

    def single_image_request(self, image: ImagePlan) -> GenerationRequest:
        """Return the request that makes this one picture alone, for its infotext."""
        return self.request.replace(
            seed=image.seed,
            subseed=image.subseed,
            n_iter=1,
            batch_size=1,
            scheduler=self.schedule_label,
        )

    def without_images(self) -> Plan:
        """Return what is left to be remembered of a plan that has been carried out."""
        return replace(self, request=self.request.without_images())

    @property
    def schedule_label(self) -> str:
        """Return the schedule's name as A1111 writes it: "Automatic" stays where it means the model's own."""
        if self.request.scheduler == "Automatic" and self.sampler.default_schedule == "Uniform":
            return "Automatic"
        return self.schedule.name
