"""One run of a sampler: from noise, or from a noised init image, to final latents."""

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
    """Return the final latents of one batch, [batch, channels, height / 8, width / 8].

    Args:
        model: The loaded checkpoint.
        plan: Sampler, schedule, steps and options.
        conditioning: The encoded prompts.
        init_image: The encoded init image; None starts from noise alone.
        noise: One generator per image, not drawn from yet.
        on_step: Called after every evaluation of the network; may raise to stop the run.
    """
    request, components = plan.request, model.components
    # 1. Sigmas
    run_sigmas = make_run_sigmas(model, plan)
    run_start = run_sigmas.from_noise()
    noise.sigmas = run_sigmas.all_sigmas()
    img2img_steps = None
    if isinstance(request, InitImageRequest):
        img2img_steps = request.denoising_strength, plan.settings.img2img_fix_steps
        noise.sigmas = run_sigmas.all_sigmas(*img2img_steps)
        image_start = run_sigmas.from_image(*img2img_steps)
        if image_start is None and init_image is not None:  # a hires pass of strength 0
            return init_image.latents.float().expand(len(noise.images), -1, -1, -1)
        run_start = add_extra_noise(image_start, plan.settings)
    # 2. Scheduler and UNet wrapper for the stock pipeline
    scheduler = SamplerScheduler(
        plan.sampler,
        run_start,
        run_sigmas.model_sigmas,
        noise,
        components.prediction_type,
        on_step,
        plan.settings,
    )
    step_cut = cut_steps(request.steps, *img2img_steps) if img2img_steps else None
    step_count = step_cut.t_enc + 1 if step_cut else request.steps
    unet = GuidedUNet(
        components.unet,
        conditioning,
        request.cfg_scale / plan.sampler.cfg_divisor,
        plan.settings,
        StepClock(
            scheduler,
            step_count * plan.sampler.evaluations_per_step,
            plan.sampler.family.mask_before_denoising,
        ),
    )
    if isinstance(on_step, Recorder):
        on_step.attach(unet)
    if plan.sampler.needs_uncond:
        scheduler.uncond_pred = unet.keep_uncond()
    # 3. Denoising loop
    if init_image is None:
        unet.concat_cond = concat.make_empty_concat_cond(components, request.width, request.height)
        return stable_diffusion.txt2img(components, unet, scheduler, request, noise())
    assert isinstance(request, InitImageRequest), "only those have an init image"
    unet.concat_cond = init_image.concat_cond
    mask = scheduler.mask = init_image.inpaint_mask(request)
    latents = stable_diffusion.img2img(
        components, unet, scheduler, request, init_image.latents, noise
    )
    return latents if mask is None else mask.blend_result(latents)


def make_run_sigmas(model: LoadedModel, plan: Plan) -> RunSigmas:
    """Return the sigmas of a plan's run."""
    return RunSigmas(
        plan.sampler, plan.schedule, plan.request.steps, model.model_sigmas, plan.settings
    )


def add_extra_noise(run_start: RunStart | None, settings: Settings) -> RunStart:
    """Return the start of an img2img run with the extra noise and the noise multiplier of the settings.

    A1111 multiplies the noise before it is added, and also adds img2img_extra_noise times the noise.
    """
    assert run_start is not None, "make_plan refuses a run that would change nothing"
    noise_sigma = run_start.noise_sigma + settings.img2img_extra_noise
    return replace(run_start, noise_sigma=noise_sigma * settings.initial_noise_multiplier)
