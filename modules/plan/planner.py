"""A request with everything it needs, frozen at submission: deaf to whatever changes later."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import islice

from modules.core.errors import UserError
from modules.core.registry import Registry
from modules.models.compatibility import incompatibility
from modules.models.manager import Checkpoint, ModelManager
from modules.models.model_spec import ModelSpec, make_model_spec, native_size
from modules.models.upscalers import UPSCALERS, Upscaler
from modules.params.requests.base import MAX_SEED, GenerationRequest
from modules.params.requests.depth import DepthRequest
from modules.params.requests.init_image import InitImageRequest
from modules.params.requests.txt2img import (
    Txt2ImgRequest,
    hires_pass_request,
    hires_size,
)
from modules.params.settings import Settings
from modules.plan.effective_settings import (
    clip_skip_has_effect,
    effective_options,
    effective_settings,
)
from modules.plan.input_checks import check_input_images
from modules.plan.plan import DEFAULT_SETTINGS, HiresPlan, ImagePlan, Plan
from modules.sampling.lookup import find_sampler_and_schedule
from modules.sampling.run_sigmas import check_steps
from modules.sampling.samplers import Sampler
from modules.sampling.schedules import Schedule

# A1111 draws random seeds below this.
_RANDOM_SEED_LIMIT = 4294967294


def make_plan(
    request: GenerationRequest,
    models: ModelManager,
    checkpoint: Checkpoint,
    samplers: Registry[Sampler],
    schedules: Registry[Schedule],
    settings: Settings = DEFAULT_SETTINGS,
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
    model = make_model_spec(models, checkpoint, settings)
    family = models.get_family(checkpoint)
    _check_task(request, models, checkpoint)
    sampler, chosen, schedule = _resolve_sampling(request, samplers, schedules)
    strength = request.denoising_strength if isinstance(request, InitImageRequest) else None
    check_steps(sampler, request.steps, strength, settings.img2img_fix_steps)
    heard_options = effective_options(sampler, schedule, settings, from_noise=strength is None)
    if isinstance(request, Txt2ImgRequest) and request.enable_hr:
        again, _, again_schedule = _resolve_sampling(
            hires_pass_request(request), samplers, schedules
        )
        heard_options |= effective_options(again, again_schedule, settings, from_noise=False)
    seed = request.seed if request.seed != -1 else _draw_seed()
    subseed = request.subseed if request.subseed != -1 else _draw_seed()
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
        batches=_make_batches(request, seed, subseed),
        settings=effective_settings(settings, request, checkpoint, family, heard_options),
        notes=(*_plan_notes(request, model, models), *check_input_images(request)),
    )
    if not isinstance(plan.request, Txt2ImgRequest) or not plan.request.enable_hr:
        return plan
    second = _plan_hires_pass(plan, plan.request, models, samplers, schedules)
    upscaler = upscalers.get(plan.request.hr_upscaler)
    return replace(
        plan,
        request=_hires_infotext_fields(plan, second, upscaler),
        hires=HiresPlan(hires_size(plan.request), upscaler, second),
    )


def _resolve_sampling(
    request: GenerationRequest, samplers: Registry[Sampler], schedules: Registry[Schedule]
) -> tuple[Sampler, Schedule, Schedule]:
    """Return the sampler, the schedule as it was chosen, and the one that "Automatic" stands for."""
    sampler, chosen = find_sampler_and_schedule(
        request.sampler_name, request.scheduler, samplers, schedules
    )
    return (
        sampler,
        chosen,
        schedules.get(sampler.default_schedule) if chosen.sigmas is None else chosen,
    )


def _plan_hires_pass(
    plan: Plan,
    request: Txt2ImgRequest,
    models: ModelManager,
    samplers: Registry[Sampler],
    schedules: Registry[Schedule],
) -> Plan:
    """Return the plan of the second pass, which repaints what the first one made, in exactly its steps."""
    asked = hires_pass_request(request)
    model = plan.model
    if asked.sd_model_checkpoint != request.sd_model_checkpoint:
        checkpoint = models.find(asked.sd_model_checkpoint)
        _check_task(request, models, checkpoint)
        model = make_model_spec(models, checkpoint, plan.settings)
    sampler, chosen, schedule = _resolve_sampling(asked, samplers, schedules)
    own_options: dict[str, bool | int] = {"img2img_fix_steps": True}
    if not clip_skip_has_effect(model.checkpoint):
        own_options["CLIP_stop_at_last_layers"] = 1
    return replace(
        plan,
        request=asked.replace(sampler_name=sampler.name, scheduler=chosen.name),
        model=model,
        sampler=sampler,
        schedule=schedule,
        settings=plan.settings.replace(**own_options),
        first_pass_evaluations=plan.timeline.steps,
    )


def _hires_infotext_fields(plan: Plan, second: Plan, upscaler: Upscaler) -> GenerationRequest:
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


def _draw_seed() -> int:
    return random.SystemRandom().randrange(_RANDOM_SEED_LIMIT)


def _make_batches(
    request: GenerationRequest, seed: int, subseed: int
) -> tuple[tuple[ImagePlan, ...], ...]:
    """Return the pictures, batch by batch; picture i is the picture of seed + i alone, whatever the batch size.

    With a variation, as in A1111, only the variation seed counts up.
    """
    count = request.n_iter * request.batch_size
    step = 0 if request.subseed_strength else 1
    if max(seed + step * (count - 1), subseed + count - 1) > MAX_SEED:
        raise UserError(
            f"Seed {max(seed, subseed)} leaves no room for {count} pictures.",
            f"Use a seed of at most {MAX_SEED - count + 1}.",
        )
    images = iter(
        [ImagePlan(index, seed + step * index, subseed + index) for index in range(count)]
    )
    return tuple(tuple(islice(images, request.batch_size)) for _ in range(request.n_iter))


def _plan_notes(
    request: GenerationRequest, model: ModelSpec, models: ModelManager
) -> tuple[str, ...]:
    checkpoint, size = model.checkpoint, native_size(model, models)
    notes: list[str] = []
    if min(request.width, request.height) < size:
        notes.append(below_native_size_note(checkpoint.name, size))
    if model.text_encoder is not None and model.text_encoder.is_checkpoint:
        notes.append(model.text_encoder_note)
    skip = request.override_settings.get("CLIP_stop_at_last_layers", 1)
    if skip > 1 and not clip_skip_has_effect(checkpoint):
        notes.append(f"Clip skip has no effect on {checkpoint.name}: its text encoder is OpenCLIP.")
    return tuple(notes)


def _check_task(request: GenerationRequest, models: ModelManager, checkpoint: Checkpoint) -> None:
    has_depth_map = False
    if isinstance(request, DepthRequest):
        has_depth_map = request.depth_map is not None
    fault = incompatibility(request.task, models, checkpoint, has_depth_map)
    if fault is not None:
        raise fault


def below_native_size_note(name: str, native_size: int) -> str:
    """Return the sentence for a size below what a checkpoint was made for."""
    return (
        f"{name} was made for {native_size}x{native_size} pixels; smaller pictures come out worse."
    )
