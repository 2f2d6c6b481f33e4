"""One run of a sampler: from noise, or from a noised picture, to final latents."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from modules.backend import image_conditioning, pipelines
from modules.backend.cache import LoadedModel
from modules.backend.guidance import GuidedUNet
from modules.backend.noise import ImageNoise
from modules.backend.picture import Seen
from modules.backend.scheduler import SamplerScheduler, StepState
from modules.params.depth import DepthRequest
from modules.plan import Plan
from modules.sampling.part_way import whole


@dataclass(frozen=True)
class Steering:
    """What the prompts have become.

    Args:
        cond: Conditioning of the prompt, [1, tokens, hidden].
        uncond: Of the negative prompt; its token count may differ.
    """

    cond: Tensor
    uncond: Tensor


def run(
    model: LoadedModel,
    plan: Plan,
    steering: Steering,
    seen: Seen | None,
    noise: ImageNoise,
    on_step: Callable[[StepState], None],
) -> Tensor:
    """Return the final latents of one batch, [pictures, channels, height / 8, width / 8].

    Args:
        model: The loaded checkpoint.
        plan: Sampler, schedule, steps and options.
        steering: Both prompts.
        seen: What is seen of the picture that is repainted; None begins with noise alone.
        noise: One generator per picture, not drawn from yet.
        on_step: Called after every evaluation of the network; may raise to stop the run.
    """
    request, components = plan.request, model.components
    # 1. Levels
    chosen = plan.sampler.own_sigmas or plan.schedule.sigmas
    assert chosen is not None, "make_plan has replaced Automatic"
    sigmas = chosen(request.steps, model.levels)
    noise.sigmas = sigmas
    start = whole(sigmas)
    if isinstance(request, DepthRequest):
        start = plan.sampler.begin(sigmas, request.steps, request.denoising_strength)
    # 2. The two parts of ours in the stock pipeline
    scheduler = SamplerScheduler(
        plan.sampler, start, model.levels, noise, components.prediction_type, on_step
    )
    unet = GuidedUNet(components.unet, steering.cond, steering.uncond, request.cfg_scale)
    # 3. Steps
    if seen is None:
        unet.extra = image_conditioning.without_picture(components, request.width, request.height)
        return pipelines.txt2img(components, unet, scheduler, request, noise())
    unet.extra = seen.depth
    return pipelines.img2img(components, unet, scheduler, request, seen.latents, noise)
