"""A request with everything it needs, frozen at submission: deaf to whatever changes later."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import islice

from modules.core.errors import UserError
from modules.core.registry import Registry
from modules.images.given import look_over
from modules.models.families import Family
from modules.models.ldm_names import CLIP
from modules.models.manager import Checkpoint, ModelManager
from modules.models.model_plan import ModelPlan, native_size, plan_model
from modules.models.tasks import misfit
from modules.models.upscalers import UPSCALERS, Upscaler
from modules.params.depth import DepthRequest
from modules.params.hires import HiresSize, hires_size, second_request
from modules.params.repainting import RepaintingRequest
from modules.params.request import LARGEST_SEED, GenerationRequest
from modules.params.settings import Settings
from modules.params.txt2img import Txt2ImgRequest
from modules.prompt.schedule import Timeline
from modules.sampling.course import check_steps
from modules.sampling.hearing import HEARD_BY_SOME, heard
from modules.sampling.names import look_up
from modules.sampling.samplers import Sampler
from modules.sampling.schedules import Schedule

# A1111 draws random seeds below this.
_RANDOM_SEEDS = 4294967294
DEFAULTS = Settings()
# Options that have an effect only where a picture is repainted.
_OF_REPAINTING = ("img2img_fix_steps", "img2img_color_correction", "initial_noise_multiplier")


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
        evaluations_before: Those of the first pass, in the plan of a second one; None in a first.
        made_at: When it was asked for.
        recorded: Whether the way to the first picture is written down to be looked at, of two passes the first.
    """

    request: GenerationRequest
    model: ModelPlan
    sampler: Sampler
    schedule: Schedule
    batches: tuple[tuple[ImagePlan, ...], ...]
    settings: Settings = DEFAULTS
    notes: tuple[str, ...] = ()
    hires: HiresPlan | None = None
    evaluations_before: int | None = None
    made_at: datetime = field(default_factory=datetime.now, compare=False)
    recorded: bool = False

    @property
    def checkpoint(self) -> Checkpoint:
        """Return the file to use."""
        return self.model.checkpoint

    @property
    def timeline(self) -> Timeline:
        """Return the evaluations in which prompt editing counts the steps."""
        evaluations = self.request.steps * self.sampler.calls_per_step
        return Timeline(evaluations, self.evaluations_before, self.settings.use_old_scheduling)

    @property
    def images(self) -> tuple[ImagePlan, ...]:
        """Return all pictures in order."""
        return tuple(image for batch in self.batches for image in batch)

    def request_of(self, image: ImagePlan) -> GenerationRequest:
        """Return the request that makes this one picture alone, for its infotext."""
        return self.request.replace(
            seed=image.seed,
            subseed=image.subseed,
            n_iter=1,
            batch_size=1,
            scheduler=self.schedule_label,
        )

    def without_pictures(self) -> Plan:
        """Return what is left to be remembered of a plan that has been carried out."""
        return replace(self, request=self.request.without_pictures())

    @property
    def schedule_label(self) -> str:
        """Return the schedule's name as A1111 writes it: "Automatic" stays where it means the model's own."""
        if self.request.scheduler == "Automatic" and self.sampler.automatic == "Uniform":
            return "Automatic"
        return self.schedule.name


def make_plan(
    request: GenerationRequest,
    models: ModelManager,
    checkpoint: Checkpoint,
    samplers: Registry[Sampler],
    schedules: Registry[Schedule],
    settings: Settings = DEFAULTS,
    upscalers: Registry[Upscaler] = UPSCALERS,
) -> Plan:
    """Return the plan of a request.

    Raises:
        NotFound: the sampler, the schedule, the upscaler or the VAE does not exist, or there is no picture to repaint.
        UserError: the checkpoint cannot do the task, the sampler cannot work with so few steps or so small a
            denoising strength, or the seeds run out of range.
    """
    settings = settings.replace(**request.override_settings)
    if request.sd_vae:
        settings = settings.replace(sd_vae=request.sd_vae)
    model = plan_model(models, checkpoint, settings)
    family = models.family_of(checkpoint)
    _check_task(request, models, checkpoint)
    sampler, chosen, schedule = _chosen(request, samplers, schedules)
    strength = request.denoising_strength if isinstance(request, RepaintingRequest) else None
    check_steps(sampler, request.steps, strength, settings.img2img_fix_steps)
    heard_options = heard(sampler, schedule, settings, from_noise=strength is None)
    if isinstance(request, Txt2ImgRequest) and request.enable_hr:
        again, _, again_schedule = _chosen(second_request(request), samplers, schedules)
        heard_options |= heard(again, again_schedule, settings, from_noise=False)
    seed = request.seed if request.seed != -1 else _random_seed()
    subseed = request.subseed if request.subseed != -1 else _random_seed()
    plan = Plan(
        request=request.replace(
            seed=seed,
            subseed=subseed,
            sampler_name=sampler.name,
            scheduler=chosen.name,
        ),
        model=model,
        sampler=sampler,
        schedule=schedule,
        batches=_batches(request, seed, subseed),
        settings=_effective(settings, request, checkpoint, family, heard_options),
        notes=(*_notes(request, model, models), *look_over(request)),
    )
    if not isinstance(plan.request, Txt2ImgRequest) or not plan.request.enable_hr:
        return plan
    second = _second_pass(plan, plan.request, models, samplers, schedules)
    upscaler = upscalers.get(plan.request.hr_upscaler)
    return replace(
        plan,
        request=_told(plan, second, upscaler),
        hires=HiresPlan(hires_size(plan.request), upscaler, second),
    )


def _chosen(
    request: GenerationRequest, samplers: Registry[Sampler], schedules: Registry[Schedule]
) -> tuple[Sampler, Schedule, Schedule]:
    """Return the sampler, the schedule as it was chosen, and the one that "Automatic" stands for."""
    sampler, chosen = look_up(request.sampler_name, request.scheduler, samplers, schedules)
    return sampler, chosen, schedules.get(sampler.automatic) if chosen.sigmas is None else chosen


def _second_pass(
    plan: Plan,
    request: Txt2ImgRequest,
    models: ModelManager,
    samplers: Registry[Sampler],
    schedules: Registry[Schedule],
) -> Plan:
    """Return the plan of the second pass, which repaints what the first one made, in exactly its steps."""
    asked = second_request(request)
    model = plan.model
    if asked.sd_model_checkpoint != request.sd_model_checkpoint:
        checkpoint = models.find(asked.sd_model_checkpoint)
        _check_task(request, models, checkpoint)
        model = plan_model(models, checkpoint, plan.settings)
    sampler, chosen, schedule = _chosen(asked, samplers, schedules)
    own_options: dict[str, bool | int] = {"img2img_fix_steps": True}
    if not skips_layers(model.checkpoint):
        own_options["CLIP_stop_at_last_layers"] = 1
    return replace(
        plan,
        request=asked.replace(sampler_name=sampler.name, scheduler=chosen.name),
        model=model,
        sampler=sampler,
        schedule=schedule,
        settings=plan.settings.replace(**own_options),
        evaluations_before=plan.timeline.steps,
    )


def _told(plan: Plan, second: Plan, upscaler: Upscaler) -> GenerationRequest:
    """Return the request as its infotext tells it: of the second pass only what is not as in the first."""
    first, again = plan.request, second.request
    same_model = second.model == plan.model
    return first.replace(
        hr_upscaler=upscaler.name,
        hr_checkpoint_name="" if same_model else second.checkpoint.model_name,
        hr_sampler_name="" if second.sampler == plan.sampler else second.sampler.name,
        hr_scheduler="" if second.schedule_label == plan.schedule_label else second.schedule_label,
        hr_prompt="" if again.prompt == first.prompt else again.prompt,
        hr_negative_prompt=""
        if again.negative_prompt == first.negative_prompt
        else again.negative_prompt,
    )


def _random_seed() -> int:
    return random.SystemRandom().randrange(_RANDOM_SEEDS)


def _batches(
    request: GenerationRequest, seed: int, subseed: int
) -> tuple[tuple[ImagePlan, ...], ...]:
    """Return the pictures, batch by batch; picture i is the picture of seed + i alone, whatever the batch size.

    With a variation, as in A1111, only the variation seed counts up.
    """
    count = request.n_iter * request.batch_size
    step = 0 if request.subseed_strength else 1
    if max(seed + step * (count - 1), subseed + count - 1) > LARGEST_SEED:
        raise UserError(
            f"Seed {max(seed, subseed)} leaves no room for {count} pictures.",
            f"Use a seed of at most {LARGEST_SEED - count + 1}.",
        )
    images = iter(
        [ImagePlan(index, seed + step * index, subseed + index) for index in range(count)]
    )
    return tuple(tuple(islice(images, request.batch_size)) for _ in range(request.n_iter))


def _effective(
    settings: Settings,
    request: GenerationRequest,
    checkpoint: Checkpoint,
    family: Family,
    heard_options: frozenset[str],
) -> Settings:
    """Return the options with those at their defaults that have no effect, so that the infotext tells what counted."""
    without_effect = {*(HEARD_BY_SOME - heard_options)}
    if not skips_layers(checkpoint):
        without_effect.add("CLIP_stop_at_last_layers")
    if not isinstance(request, RepaintingRequest):
        without_effect.update(_OF_REPAINTING)
        if not isinstance(request, Txt2ImgRequest) or not request.enable_hr:
            without_effect.add("img2img_extra_noise")
    if family.extra_input != "masked picture" or request.task != "inpaint":
        without_effect.add("inpainting_mask_weight")
    return settings.replace(**{name: getattr(DEFAULTS, name) for name in without_effect})


def _notes(request: GenerationRequest, model: ModelPlan, models: ModelManager) -> tuple[str, ...]:
    checkpoint, size = model.checkpoint, native_size(model, models)
    notes: list[str] = []
    if min(request.width, request.height) < size:
        notes.append(too_small(checkpoint.name, size))
    if model.text_encoder is not None and model.text_encoder.is_checkpoint:
        notes.append(model.borrows)
    skip = request.override_settings.get("CLIP_stop_at_last_layers", 1)
    if skip > 1 and not skips_layers(checkpoint):
        notes.append(f"Clip skip has no effect on {checkpoint.name}: its text encoder is OpenCLIP.")
    return tuple(notes)


def skips_layers(checkpoint: Checkpoint) -> bool:
    """Return whether clip skip has an effect: A1111 lets it do nothing to OpenCLIP."""
    return checkpoint.text.kind == CLIP


def _check_task(request: GenerationRequest, models: ModelManager, checkpoint: Checkpoint) -> None:
    has_depth_map = False
    if isinstance(request, DepthRequest):
        has_depth_map = request.depth_map is not None
    fault = misfit(request.task, models, checkpoint, has_depth_map)
    if fault is not None:
        raise fault


def too_small(name: str, native_size: int) -> str:
    """Return the sentence for a size below what a checkpoint was made for."""
    return (
        f"{name} was made for {native_size}x{native_size} pixels; smaller pictures come out worse."
    )
