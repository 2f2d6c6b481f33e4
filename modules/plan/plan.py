"""Plans: a request with everything that the backend needs, resolved at submission and frozen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from typing_extensions import Self

from modules.models.checkpoint import Checkpoint
from modules.models.files.scan import ModelFile
from modules.models.model_spec import ModelSpec
from modules.params.image import ImageField
from modules.params.requests.base import GenerationRequest, require_generation
from modules.params.requests.txt2img import HiresSize
from modules.plan.job_plan import JobPlan
from modules.plan.networks.planned_networks import NO_NETWORKS, PlannedNetworks
from modules.plan.step_extensions import StepExtensionRow
from modules.plan.units.planned_unit import PlannedUnit
from modules.plan.upscaling import PlannedUpscaler
from modules.prompt.schedule import StepTimeline
from modules.sampling.samplers import Sampler
from modules.sampling.schedules import Schedule

# Options that have no effect without a refiner.
REFINER_OPTIONS = ("refiner_switch_by_sample_steps", "hires_fix_refiner_pass")


@dataclass(frozen=True)
class ImagePlan:
    """One image of a job.

    Args:
        index: Index among all images of the job.
        seed: Seed of its noise generator.
        subseed: Variation seed.
    """

    index: int
    seed: int
    subseed: int = 0


@dataclass(frozen=True)
class HiresPlan:
    """The hires pass of a job.

    Args:
        size: Size to which the images of the first pass are enlarged.
        upscaler: How they are enlarged.
        plan: Plan of the img2img pass: its size, prompts, sampler, schedule, checkpoint and settings.
    """

    size: HiresSize
    upscaler: PlannedUpscaler
    plan: Plan


@dataclass(frozen=True)
class RefinerPlan:
    """The refiner of a pass: another checkpoint that makes its last steps.

    Args:
        switch_at: The share of the pass that is done when it takes over, 0 to 1; see `RunSigmas.progress_at`.
        plan: The pass with its checkpoint, and with the settings as they count for it.
    """

    switch_at: float
    plan: Plan


@dataclass(frozen=True)
class Plan(JobPlan):
    """Everything that the backend needs to generate the images of one job.

    Its settings without an effect on it have their default values.

    Args:
        request: The request with random seeds drawn and names spelled as in the tables.
        model: The checkpoint with VAE, prediction type and EMA choice.
        sampler: Row of the sampler.
        schedule: Row of the schedule; "Automatic" is already replaced by the sampler's default schedule.
        batches: The images, batch by batch.
        batch_indices: Which of the batches are made in this run; None for all of them.
        stated_options: Options that the infotext states even at their defaults.
        hires: The hires pass, or None.
        refiner: The refiner of this pass, or None; the hires pass has its own.
        first_pass_evaluations: In the plan of a hires pass, the network evaluations of the first pass; else None.
        record: Whether sampling of the first image is recorded; of both passes, with hires fix.
        networks: What the prompts of this pass add to the checkpoint.
        image_upscaler: How an init image is enlarged; None for Lanczos, or without an init image.
        drawn: Where the prompts are templates, a plan for each batch, with the prompts that were drawn for it; the request
            has the templates then, from which a retry draws again.
        templates: In a drawn plan, infotext pairs with the templates.
        precision: The dtype that its UNet computed in, where the infotext states it; "" before.
        step_extensions: What extensions add to the steps of this pass.
        control: The ControlNet units of this pass.
        preview_files: Files of small decoders, of which one may fit the checkpoint's VAE.
    """

    request: GenerationRequest
    model: ModelSpec
    sampler: Sampler
    schedule: Schedule
    batches: tuple[tuple[ImagePlan, ...], ...]
    stated_options: tuple[str, ...] = ()
    hires: HiresPlan | None = None
    refiner: RefinerPlan | None = None
    first_pass_evaluations: int | None = None
    record: bool = False
    networks: PlannedNetworks = NO_NETWORKS
    image_upscaler: PlannedUpscaler | None = None
    precision: str = ""
    step_extensions: tuple[StepExtensionRow, ...] = ()
    control: tuple[PlannedUnit, ...] = ()
    preview_files: tuple[ModelFile, ...] = ()
    drawn: tuple[Plan, ...] = ()
    templates: tuple[tuple[str, str], ...] = ()
    batch_indices: tuple[int, ...] | None = None

    def for_batch(self, index: int) -> Plan:
        """Return the plan of one batch, which has the prompts that were drawn for it."""
        if not self.drawn:
            return self
        return replace(self.drawn[index], record=self.record, created_at=self.created_at)

    def for_image(self, index: int) -> Plan:
        """Return the plan of one image, by its index among all images of the job."""
        if not self.drawn:
            return self
        batches = enumerate(self.batches)
        return self.for_batch(next(i for i, batch in batches if index <= batch[-1].index))

    def with_batches(self, batches: tuple[tuple[ImagePlan, ...], ...]) -> Plan:
        """Return the plan for other batches, in all its passes."""
        hires, refiner = self.hires, self.refiner
        if hires is not None:
            hires = replace(hires, plan=hires.plan.with_batches(batches))
        if refiner is not None:
            refiner = replace(refiner, plan=refiner.plan.with_batches(batches))
        return replace(self, batches=batches, hires=hires, refiner=refiner)

    @property
    def checkpoint(self) -> Checkpoint:
        """Return the checkpoint file."""
        return self.model.checkpoint

    @property
    def timeline(self) -> StepTimeline:
        """Return the network evaluations by which prompt editing counts steps."""
        evaluations = self.request.steps * self.sampler.evaluations_per_step
        return StepTimeline(
            evaluations, self.first_pass_evaluations, self.settings.use_old_scheduling
        )

    @property
    def images(self) -> tuple[ImagePlan, ...]:
        """Return all images in order."""
        return tuple(image for batch in self.batches for image in batch)

    @property
    def token_merging_ratio(self) -> float:
        """Return the share of the tokens that this pass merges, 0 to 1."""
        is_hires_pass = self.first_pass_evaluations is not None
        settings = self.settings
        return settings.token_merging_ratio_hr if is_hires_pass else settings.token_merging_ratio

    @property
    def image_count(self) -> int:
        """Return the number of images."""
        return len(self.images)

    @property
    def label(self) -> str:
        """Return the name of the checkpoint."""
        return self.checkpoint.name

    @property
    def model_paths(self) -> tuple[Path, ...]:
        """Return the files of the checkpoints and networks of all passes."""
        later = [item.plan for item in (self.refiner, self.hires) if item is not None]
        control = (path for unit in self.control for path in unit.paths)
        own = *self.model.paths, *self.networks.paths, *control
        return *own, *(path for plan in (*later, *self.drawn) for path in plan.model_paths)

    def image_seed(self, index: int) -> int:
        """Return the seed of an image's noise."""
        return self.images[index].seed

    def single_image_request(self, image: ImagePlan) -> GenerationRequest:
        """Return the request that generates this image alone, for its infotext."""
        return self.request.replace(
            seed=image.seed,
            subseed=image.subseed,
            n_iter=1,
            batch_size=1,
            scheduler=self.schedule_label,
        )

    @property
    def refiner_model(self) -> ModelSpec | None:
        """Return the refiner of the job, whichever pass it is in; None without one."""
        passes = [self] if self.hires is None else [self, self.hires.plan]
        return next((item.refiner.plan.model for item in passes if item.refiner is not None), None)

    def without_refiner(self) -> Plan:
        """Return the plan of the same job without a refiner, and without the options that count for one alone."""
        fields, options = type(self.request).model_fields, type(self.settings).model_fields
        request = self.request.replace(
            **{name: fields[name].default for name in ("refiner_checkpoint", "refiner_switch_at")}
        )
        settings = self.settings.replace(
            **{name: options[name].default for name in REFINER_OPTIONS}
        )
        hires = self.hires
        if hires is not None:
            hires = replace(hires, plan=hires.plan.without_refiner())
        return replace(self, request=request, settings=settings, refiner=None, hires=hires)

    def without_images(self) -> Self:
        """Return a copy without input images, to keep after the job has ended."""
        return self.with_requests(lambda request: request.without_images())

    def with_images(self, images: Mapping[str, ImageField]) -> Self:
        """Return a copy with the input images of its request, by field, to run."""
        return self.with_requests(lambda request: request.with_images(images))

    def with_requests(self, change: Callable[[GenerationRequest], GenerationRequest]) -> Self:
        """Return a copy with the requests of all passes changed, and its units as those then have them."""
        request = change(self.request)
        hires, refiner = self.hires, self.refiner
        if hires is not None:
            hires = replace(hires, plan=hires.plan.with_requests(change))
        if refiner is not None:
            refiner = replace(refiner, plan=refiner.plan.with_requests(change))
        return replace(
            self,
            request=request,
            drawn=tuple(plan.with_requests(change) for plan in self.drawn),
            hires=hires,
            refiner=refiner,
            control=tuple(
                replace(one, unit=request.control_units[one.index]) for one in self.control
            ),
        )

    @property
    def schedule_label(self) -> str:
        """Return the schedule's name as A1111 writes it: "Automatic" stays where it means the model's own sigmas."""
        if self.request.scheduler == "Automatic" and self.sampler.default_schedule == "Uniform":
            return "Automatic"
        return self.schedule.name


def require_plan(plan: JobPlan) -> Plan:
    """Return a plan if it generates images.

    Raises:
        UserError: it does something else.
    """
    require_generation(plan.request)
    assert isinstance(plan, Plan)
    return plan
