"""Calls stock diffusers pipelines: the only place where A1111's names are translated to diffusers' names."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import StableDiffusionImg2ImgPipeline, StableDiffusionPipeline
from torch import Tensor

from modules.backend.components import Components
from modules.backend.denoise.guidance import GuidedUNet
from modules.backend.denoise.sampler_scheduler import SamplerScheduler
from modules.backend.noise.noise import ImageNoise
from modules.params.requests.base import GenerationRequest


def txt2img(
    components: Components,
    unet: GuidedUNet,
    scheduler: SamplerScheduler,
    request: GenerationRequest,
    noise: Tensor,
) -> Tensor:
    """Return the final latents of one batch.

    Args:
        components: Of the checkpoint.
        unet: Applies guidance itself; the pipeline's guidance stays off.
        scheduler: The sampler and its sigmas.
        request: Size and number of steps.
        noise: Unit noise, [batch, channels, height / 8, width / 8].
    """
    pipeline = StableDiffusionPipeline(**_pipeline_arguments(components, unet, scheduler))
    pipeline.set_progress_bar_config(disable=True)
    return pipeline(
        prompt_embeds=unet.prompt_embeds.expand(noise.shape[0], -1, -1),
        width=request.width,
        height=request.height,
        num_inference_steps=request.steps,
        guidance_scale=1.0,
        latents=noise,
        output_type="latent",
        return_dict=False,
    )[0]


def img2img(
    components: Components,
    unet: GuidedUNet,
    scheduler: SamplerScheduler,
    request: GenerationRequest,
    init_latents: Tensor,
    noise: ImageNoise,
) -> Tensor:
    """Return the final latents of one batch that starts from an init image.

    Args:
        components: Of the checkpoint.
        unet: Applies guidance itself, and adds the concat conditioning.
        scheduler: The sampler, already limited to its part of the schedule: the pipeline skips no steps itself.
        request: Number of steps.
        init_latents: [1, channels, height / 8, width / 8], scaled.
        noise: Holds the images of the batch; the scheduler draws from it.
    """
    pipeline = StableDiffusionImg2ImgPipeline(**_pipeline_arguments(components, unet, scheduler))
    pipeline.set_progress_bar_config(disable=True)
    batch_size = len(noise.images)
    return pipeline(
        # The pipeline takes the latents' dtype from here; they stay in 32 bits.
        prompt_embeds=unet.prompt_embeds.float().expand(batch_size, -1, -1),
        image=init_latents.float().expand(batch_size, -1, -1, -1),
        strength=1.0,
        num_inference_steps=request.steps,
        guidance_scale=1.0,
        # Its noise is discarded (SamplerScheduler.add_noise), but must not advance the global generator.
        generator=torch.Generator("cpu").manual_seed(0),
        output_type="latent",
        return_dict=False,
    )[0]


def _pipeline_arguments(
    components: Components, unet: GuidedUNet, scheduler: SamplerScheduler
) -> dict[
    str, Any
]:  # Any: our classes are passed where a pipeline's signature names the stock ones
    return {
        "vae": components.vae,
        "text_encoder": components.text_encoders[0].network,
        "tokenizer": None,
        "unet": unet,
        "scheduler": scheduler,
        "safety_checker": None,
        "feature_extractor": None,
        "requires_safety_checker": False,
    }
