"""Requests to stock diffusers pipelines: A1111's names end here, diffusers' names begin."""

from __future__ import annotations

from typing import Any

from diffusers import StableDiffusionPipeline
from torch import Tensor

from modules.backend.guidance import GuidedUNet
from modules.backend.loader import Components
from modules.backend.scheduler import SamplerScheduler
from modules.params.request import GenerationRequest


def txt2img(
    components: Components,
    unet: GuidedUNet,
    scheduler: SamplerScheduler,
    request: GenerationRequest,
    noise: Tensor,
) -> Tensor:
    """Return the final latents of one batch.

    Args:
        components: The checkpoint's parts.
        unet: The network with both prompts inside; the pipeline's own guidance stays off.
        scheduler: The sampler and its levels.
        request: Size and number of steps.
        noise: Unit noise, [batch, channels, height / 8, width / 8].
    """
    # Any: ours stand where the pipeline's signature names the stock classes.
    parts: dict[str, Any] = {
        "vae": components.vae,
        "text_encoder": components.text_encoder,
        "tokenizer": None,
        "unet": unet,
        "scheduler": scheduler,
        "safety_checker": None,
        "feature_extractor": None,
    }
    pipeline = StableDiffusionPipeline(**parts, requires_safety_checker=False)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline(
        prompt_embeds=unet.cond.expand(noise.shape[0], -1, -1),
        width=request.width,
        height=request.height,
        num_inference_steps=request.steps,
        guidance_scale=1.0,
        latents=noise,
        output_type="latent",
        return_dict=False,
    )[0]
