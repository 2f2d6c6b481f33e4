"""Makes the plan of a request at submission: resolves names, draws seeds, checks what can be checked without the device."""

from __future__ import annotations

import random
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path

from modules.core.errors import UserError
from modules.models.checkpoint import Checkpoint
from modules.models.compatibility import incompatibility
from modules.models.index import ModelIndex
from modules.models.kinds import PREVIEW_DECODER
from modules.models.model_spec import (
    ModelSpec,
    is_below_native_size,
    make_model_spec,
    may_predict_v,
    native_size,
)
from modules.models.upscaler_list import UpscalerList
from modules.models.upscaling.upscalers import Upscaler
from modules.params.requests.base import MAX_SEED, GenerationRequest
from modules.params.requests.depth import DepthRequest
from modules.params.requests.txt2img import Txt2ImgRequest, hires_pass_request, hires_size
from modules.params.settings import Settings
from modules.plan.checkpoints.few_step_models import few_step_note
from modules.plan.checkpoints.finder import CheckpointFinder
from modules.plan.control import plan_control
from modules.plan.drawn_prompts import plan_drawn_prompts, read_templates
from modules.plan.effects import clip_skip_has_effect, ineffective_options, stated_options
from modules.plan.embeddings import EmbeddingVocabulary, add_embeddings
from modules.plan.input_checks import check_input_images
from modules.plan.job_plan import DEFAULT_SETTINGS
from modules.plan.plan import HiresPlan, ImagePlan, Plan
from modules.plan.planned_pass import PlannedPass
from modules.plan.prompts import apply_styles, plan_networks, prompt_notes
from modules.plan.refiner import add_refiner_networks, with_refiner
from modules.plan.tables import BUILTIN_TABLES, PlanTables
from modules.plan.upscaling import (
    PlannedUpscaler,
    enlarges_init_image,
    plan_image_upscaler,
    plan_upscaler,
)
from modules.prompt.dynamic.wildcards import WildcardLibrary
from modules.prompt.styles import Styles
from modules.prompt.tokens import ClipTokenizer
from modules.sampling.lookup import find_sampler_and_schedule
from modules.sampling.run_sigmas import check_steps
from modules.sampling.samplers import Sampler
from modules.sampling.schedules import Schedule

# A1111 draws random seeds below this limit.
_RANDOM_SEED_LIMIT = 4294967294
_NOISE_SCHEDULE = "sd_noise_schedule"  # by default the checkpoint's own


class Planner:
    """Plans requests.

    Args:
        checkpoints: Finds the checkpoint of a request.
        styles: The styles that requests name.
        tables: Samplers, schedules, upscalers and tasks.
        tokenizer: Counts and splits prompts.
        wildcards: The folder of the files that prompts draw from.

    Attributes:
        wildcards: These files.
        vocabulary: The embeddings, as prompts name them.
    """

    def __init__(
        self,
        checkpoints: CheckpointFinder,
        styles: Styles,
        tables: PlanTables,
        tokenizer: ClipTokenizer,
        wildcards: Path,
    ) -> None:
        self._checkpoints = checkpoints
        self._styles = styles
        self._tables = tables
        self._tokenizer = tokenizer
        self.wildcards = WildcardLibrary(wildcards)
        self.vocabulary = EmbeddingVocabulary(checkpoints.models.embeddings, tokenizer)

    def plan(self, request: GenerationRequest, settings: Settings) -> Plan:
        """Return the plan of a request.

        Args:
            request: The request.
            settings: Its override settings take precedence over them.

        Raises:
            NotFound: a name in the request is unknown, there is no checkpoint, or the init image is missing.
            BadFile: the checkpoint cannot be used.
            UserError: the checkpoint cannot do the task, the sampler cannot work with so few steps or so small a
                denoising strength, or the seeds run out of range.
            ExtensionFailed: an extension fails to say whether it takes part.
        """
        name = request.sd_model_checkpoint or settings.sd_model_checkpoint
        checkpoint = self._checkpoints.find(name)
        request = apply_styles(
            request, [self._styles.get(name) for name in request.styles], settings
        )
        make = partial(self._plan, checkpoint=checkpoint, settings=settings)
        if not settings.replace(**request.override_settings).dynamic_prompts:
            return make(request)
        templates = read_templates(request, self.wildcards)
        if not templates.by_field:
            plan = make(request)
            return replace(plan, notes=(*plan.notes, *templates.notes))
        request = _with_seeds(request)
        batches = _make_batches(request)
        return plan_drawn_prompts(request, templates, batches, make)

    def _plan(self, request: GenerationRequest, checkpoint: Checkpoint, settings: Settings) -> Plan:
        """Return the plan of a request whose styles are applied and prompts drawn."""
        models, tables = self._checkpoints.models, self._tables
        self.vocabulary.listing.refresh_if_changed()
        plan = plan_networks(make_plan(request, models, checkpoint, settings, tables), models)
        passes = [
            PlannedPass(
                item,
                tables.tasks.get(item.request.task),
                models.get_family(item.checkpoint),
                self._tokenizer,
                any(may_predict_v(model, models) for model in _models_of(item)),
                self.vocabulary.words(item.checkpoint, item.networks.loras),
            )
            for item in ([plan, plan.hires.plan] if plan.hires else [plan])
        ]
        plan = replace(
            plan,
            notes=(*plan.notes, *_few_step_notes(plan), *prompt_notes(passes)),
            stated_options=stated_options(passes),
        )
        plan = add_embeddings(plan, passes, self.vocabulary)
        plan = add_refiner_networks(plan, passes, self.vocabulary, models)
        return _with_settings(plan, plan.settings.replace(**ineffective_options(passes, tables)))


def make_plan(
    request: GenerationRequest,
    models: ModelIndex,
    checkpoint: Checkpoint,
    settings: Settings = DEFAULT_SETTINGS,
    tables: PlanTables = BUILTIN_TABLES,
) -> Plan:
    """Return the plan of a request whose styles are applied, with all options, those without an effect included."""
    settings = _resolve_token_merging(request, settings.replace(**request.override_settings))
    if (
        checkpoint.prediction.is_zero_terminal_snr
        and _NOISE_SCHEDULE not in request.override_settings
    ):
        settings = settings.replace(sd_noise_schedule="Zero Terminal SNR")
    if request.sd_vae:
        settings = settings.replace(sd_vae=request.sd_vae)
    model = make_model_spec(models, checkpoint, settings)
    _check_task(request, models, checkpoint, tables)
    sampler, requested_schedule, schedule = _resolve_sampling(request, tables, model)
    check_steps(sampler, request.steps, request.img2img_strength, settings.img2img_fix_steps)
    request = _with_seeds(request)
    plan = Plan(
        request=request.replace(
            sampler_name=sampler.name,
            scheduler=requested_schedule.name,
        ),
        model=model,
        sampler=sampler,
        schedule=schedule,
        batches=_make_batches(request),
        settings=settings,
        preview_files=tuple(models.files(PREVIEW_DECODER)),
        notes=(*_plan_notes(request, model, models), *check_input_images(request)),
    )
    if isinstance(plan.request, Txt2ImgRequest) and plan.request.enable_hr:
        plan = _with_hires_pass(plan, plan.request, models, tables)
    plan = replace(plan, image_upscaler=_plan_image_upscaler(plan, models, tables))
    plan = plan_control(with_refiner(plan, models), models)
    return _with_step_extensions(_with_settings(plan, settings), tables)


def _resolve_token_merging(request: GenerationRequest, settings: Settings) -> Settings:
    """Return the settings with A1111's three ratios reduced to one for each pass, as its infotext states them.

    Args:
        request: An option that it overrides itself goes before the one for img2img.
        settings: With the options that it overrides.
    """
    ratio = settings.token_merging_ratio
    is_overridden = bool(request.override_settings.get("token_merging_ratio"))
    if request.img2img_strength is not None and not is_overridden:
        ratio = settings.token_merging_ratio_img2img or ratio
    has_hires_pass = isinstance(request, Txt2ImgRequest) and request.enable_hr
    return settings.replace(
        token_merging_ratio=ratio,
        token_merging_ratio_img2img=0.0,
        token_merging_ratio_hr=(settings.token_merging_ratio_hr or ratio)
        if has_hires_pass
        else 0.0,
    )


def _plan_image_upscaler(
    plan: Plan, models: ModelIndex, tables: PlanTables
) -> PlannedUpscaler | None:
    """Return the upscaler of an init image that is to become larger, or None."""
    name = plan.settings.upscaler_for_img2img
    if not enlarges_init_image(plan.request) or name.strip().casefold() in ("", "none"):
        return None
    upscaler = UpscalerList(tables.upscalers, models).get(name)
    return plan_image_upscaler(upscaler, plan.settings)


def _models_of(plan: Plan) -> tuple[ModelSpec, ...]:
    """Return the checkpoint of a pass, and its refiner."""
    return (plan.model,) if plan.refiner is None else (plan.model, plan.refiner.plan.model)


def _with_hires_pass(
    plan: Plan, request: Txt2ImgRequest, models: ModelIndex, tables: PlanTables
) -> Plan:
    hires_plan = _plan_hires_pass(plan, request, models, tables)
    upscaler = UpscalerList(tables.upscalers, models).get(request.hr_upscaler)
    return replace(
        plan,
        request=_hires_infotext_fields(plan, hires_plan, upscaler),
        hires=HiresPlan(hires_size(request), plan_upscaler(upscaler, plan.settings), hires_plan),
    )


def _with_settings(plan: Plan, settings: Settings) -> Plan:
    """Return the plan with other settings; its hires pass makes exactly the requested steps."""
    hires, refiner = plan.hires, plan.refiner
    if hires is not None:
        fixed = _with_settings(hires.plan, settings.replace(img2img_fix_steps=True))
        hires = replace(hires, plan=_without_deaf_clip_skip(fixed))
    if refiner is not None:
        refined = _without_deaf_clip_skip(replace(refiner.plan, settings=settings))
        refiner = replace(refiner, plan=refined)
    return replace(plan, settings=settings, hires=hires, refiner=refiner)


def _with_step_extensions(plan: Plan, tables: PlanTables) -> Plan:
    """Return the plan with what extensions add to the steps of each pass; a refiner goes on with those of its pass."""
    rows = tuple(row for row in tables.step_extensions if row.is_in(plan.request, plan.settings))
    hires = plan.hires
    if hires is not None:
        hires = replace(hires, plan=_with_step_extensions(hires.plan, tables))
    return replace(plan, step_extensions=rows, hires=hires)


def _without_deaf_clip_skip(plan: Plan) -> Plan:
    """Return the plan of a later model of the job, without a clip skip that has no effect on it."""
    if clip_skip_has_effect(plan.checkpoint):
        return plan
    return replace(plan, settings=plan.settings.replace(CLIP_stop_at_last_layers=1))


def _resolve_sampling(
    request: GenerationRequest, tables: PlanTables, model: ModelSpec
) -> tuple[Sampler, Schedule, Schedule]:
    """Return the sampler, the requested schedule, and the one to use: for "Automatic" the sampler's default."""
    sampler, requested = find_sampler_and_schedule(
        request.sampler_name, request.scheduler, tables.samplers, tables.schedules
    )
    schedule = requested
    if requested.sigmas is None:
        schedule = tables.schedules.get(sampler.default_schedule)
    return sampler, requested, schedule.for_sdxl() if model.family.is_sdxl else schedule


def _plan_hires_pass(
    plan: Plan, request: Txt2ImgRequest, models: ModelIndex, tables: PlanTables
) -> Plan:
    """Return the plan of the hires pass: img2img on the images of the first pass."""
    hires_request = hires_pass_request(request)
    model = plan.model
    if hires_request.sd_model_checkpoint != request.sd_model_checkpoint:
        checkpoint = models.find_checkpoint(hires_request.sd_model_checkpoint)
        if not models.get_family(checkpoint).is_refiner:  # which repaints what another one began
            _check_task(request, models, checkpoint, tables)
        model = make_model_spec(models, checkpoint, plan.settings)
    sampler, requested_schedule, schedule = _resolve_sampling(hires_request, tables, model)
    return replace(
        plan,
        request=hires_request.replace(sampler_name=sampler.name, scheduler=requested_schedule.name),
        model=model,
        sampler=sampler,
        schedule=schedule,
        first_pass_evaluations=plan.timeline.steps,
    )


def _hires_infotext_fields(plan: Plan, hires: Plan, upscaler: Upscaler) -> GenerationRequest:
    """Return the request for the infotext: hires fields are empty where they equal those of the first pass."""
    first, second = plan.request, hires.request
    same_model = hires.model == plan.model
    same_negative_prompt = second.negative_prompt == first.negative_prompt
    return first.replace(
        hr_upscaler=upscaler.name,
        hr_checkpoint_name="" if same_model else hires.checkpoint.model_name,
        hr_sampler_name="" if hires.sampler == plan.sampler else hires.sampler.name,
        hr_scheduler="" if hires.schedule_label == plan.schedule_label else hires.schedule_label,
        hr_prompt="" if second.prompt == first.prompt else second.prompt,
        hr_negative_prompt="" if same_negative_prompt else second.negative_prompt,
    )


def draw_seed() -> int:
    """Return a random seed, as A1111 draws it."""
    return random.SystemRandom().randrange(_RANDOM_SEED_LIMIT)


def _with_seeds(request: GenerationRequest) -> GenerationRequest:
    """Return the request with random seeds drawn."""
    seeds = {"seed": request.seed, "subseed": request.subseed}
    drawn = {name: draw_seed() for name, seed in seeds.items() if seed == -1}
    return request.replace(**drawn) if drawn else request


def _make_batches(request: GenerationRequest) -> tuple[tuple[ImagePlan, ...], ...]:
    """Return the images, batch by batch; image i equals that of seed + i alone, whatever the batch size.

    With a variation, as in A1111, only the variation seed counts up.
    """
    seed, subseed = request.seed, request.subseed
    count = request.n_iter * request.batch_size
    step = 0 if request.subseed_strength else 1
    if max(seed + step * (count - 1), subseed + count - 1) > MAX_SEED:
        raise UserError(
            f"Seed {max(seed, subseed)} is too large for {count} pictures.",
            f"Use a seed of at most {MAX_SEED - count + 1}.",
        )
    images = iter(
        [ImagePlan(index, seed + step * index, subseed + index) for index in range(count)]
    )
    return tuple(tuple(islice(images, request.batch_size)) for _ in range(request.n_iter))


def _plan_notes(
    request: GenerationRequest, model: ModelSpec, models: ModelIndex
) -> tuple[str, ...]:
    checkpoint, size = model.checkpoint, native_size(model, models)
    notes: list[str] = []
    if is_below_native_size(model, models, request.width, request.height):
        notes.append(below_native_size_note(checkpoint.name, size))
    if model.borrowed_from:
        notes.append(model.text_encoder_note)
    skip = request.override_settings.get("CLIP_stop_at_last_layers", 1)
    if skip > 1 and not clip_skip_has_effect(checkpoint):
        notes.append(f"Clip skip has no effect on {checkpoint.name}: its text encoder is OpenCLIP.")
    return tuple(notes)


def _few_step_notes(plan: Plan) -> tuple[str, ...]:
    note = few_step_note(
        plan.checkpoint.model_name, plan.request, plan.sampler.name, plan.schedule.name
    )
    return (note,) if note else ()


def _check_task(
    request: GenerationRequest, models: ModelIndex, checkpoint: Checkpoint, tables: PlanTables
) -> None:
    has_depth_map = False
    if isinstance(request, DepthRequest):
        has_depth_map = request.depth_map is not None
    error = incompatibility(request.task, models, checkpoint, has_depth_map, tables.tasks)
    if error is not None:
        raise error


def below_native_size_note(name: str, native_size: int) -> str:
    """Return the note on a size below a checkpoint's native size."""
    return (
        f"{name} was made for {native_size}x{native_size} pixels; smaller pictures come out worse."
    )
