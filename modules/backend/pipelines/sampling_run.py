"""One run of a sampler: from noise, or from a noised picture, to final latents."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from torch import Tensor

from modules.backend.conditioning import concat
from modules.backend.conditioning.init_image import InitImage
from modules.backend.conditioning.text import PromptConditioning
from modules.backend.denoise.guidance import GuidedUNet, StepClock
from modules.backend.denoise.recorder import Recorder
from modules.backend.denoise.sampler_scheduler import SamplerScheduler, StepState
from modules.backend.model import LoadedModel
from modules.backend.noise.noise import ImageNoise
from modules.backend.pipelines import stable_diffusion
from modules.params.requests.init_image import InitImageRequest
from modules.params.settings import Settings
from modules.plan.plan import Plan
from modules.sampling.run_sigmas import RunSigmas
from modules.sampling.run_start import RunStart, cut_steps


def sample(
    model: LoadedModel,
    plan: Plan,
    conditioning: PromptConditioning,
    init_image: InitImage | None,
    noise: ImageNoise,
    on_step: Callable[[StepState], None],
) -> Tensor:
    """Return the final latents of one batch, [pictures, channels, height / 8, width / 8].

    Args:
        model: The loaded checkpoint.
        plan: Sampler, schedule, steps and options.
        conditioning: What the prompts have become.
        init_image: What is seen of the picture that is repainted; None begins with noise alone.
        noise: One generator per picture, not drawn from yet.
        on_step: Called after every evaluation of the network; may raise to stop the run.
    """
    request, components = plan.request, model.components
    # 1. Levels
    course = make_run_sigmas(model, plan)
    start = course.from_noise()
    noise.sigmas = course.all_sigmas()
    repainting = None
    if isinstance(request, InitImageRequest):
        repainting = request.denoising_strength, plan.settings.img2img_fix_steps
        noise.sigmas = course.all_sigmas(*repainting)
        part_way = course.from_image(*repainting)
        if part_way is None and init_image is not None:  # a second pass of strength 0
            return init_image.latents.float().expand(len(noise.images), -1, -1, -1)
        start = add_extra_noise(part_way, plan.settings)
    # 2. The two parts of ours in the stock pipeline
    scheduler = SamplerScheduler(
        plan.sampler,
        start,
        course.model_sigmas,
        noise,
        components.prediction_type,
        on_step,
        plan.settings,
    )
    kept = cut_steps(request.steps, *repainting) if repainting else None
    planned = (kept.t_enc + 1 if kept else request.steps) * plan.sampler.evaluations_per_step
    unet = GuidedUNet(
        components.unet,
        conditioning,
        request.cfg_scale / plan.sampler.cfg_divisor,
        plan.settings,
        StepClock(scheduler, planned, plan.sampler.family.mask_before_denoising),
    )
    if isinstance(on_step, Recorder):
        on_step.attach(unet)
    if plan.sampler.needs_uncond:
        scheduler.uncond_pred = unet.keep_uncond()
    # 3. Steps
    if init_image is None:
        unet.concat_cond = concat.make_empty_concat_cond(components, request.width, request.height)
        return stable_diffusion.txt2img(components, unet, scheduler, request, noise())
    assert isinstance(request, InitImageRequest), "only those have a picture to be seen"
    unet.concat_cond = init_image.concat_cond
    mask = scheduler.mask = init_image.inpaint_mask(request)
    latents = stable_diffusion.img2img(
        components, unet, scheduler, request, init_image.latents, noise
    )
    return latents if mask is None else mask.blend_result(latents)


def make_run_sigmas(model: LoadedModel, plan: Plan) -> RunSigmas:
    """Return the way through the model's noise levels that a plan asks for."""
    return RunSigmas(
        plan.sampler, plan.schedule, plan.request.steps, model.model_sigmas, plan.settings
    )


def add_extra_noise(start: RunStart | None, settings: Settings) -> RunStart:
    """Return the start of a run from a picture with the noise that the options put on top.

    A1111 multiplies the noise before it is added, and adds img2img_extra_noise times the noise besides.
    """
    assert start is not None, "make_plan refuses a run that would change nothing"
    noised_to = start.noise_sigma + settings.img2img_extra_noise
    return replace(start, noise_sigma=noised_to * settings.initial_noise_multiplier)
