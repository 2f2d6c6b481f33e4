"""Values of the filename pattern tokens, such as [seed]."""

from __future__ import annotations

from pathlib import Path

from modules.core.registry import Registry
from modules.images.filename import FilenameToken, FilenameTokens
from modules.plan.plan import ImagePlan, Plan


def make_filename_tokens(
    plan: Plan, image: ImagePlan, computed: Registry[FilenameToken]
) -> FilenameTokens:
    """Return the token values for one image of a plan.

    Args:
        plan: The plan.
        image: One of its images.
        computed: The tokens that are computed from these values.
    """
    request, model = plan.single_image_request(image), plan.model
    values = {
        "prompt": request.prompt,
        "prompt_no_styles": request.prompt,
        "negative_prompt": request.negative_prompt,
        "styles": ", ".join(request.styles),
        "steps": str(request.steps),
        "cfg": f"{request.cfg_scale:g}",
        "width": str(request.width),
        "height": str(request.height),
        "sampler": request.sampler_name,
        "scheduler": request.scheduler,
        "sampler_scheduler": f"{request.sampler_name} {request.scheduler}",
        "model_name": model.checkpoint.model_name,
        "model_hash": model.checkpoint.short_hash,
        "vae_filename": Path(model.vae.name).stem if model.vae else "NoneType",
        "clip_skip": str(plan.settings.CLIP_stop_at_last_layers),
        "denoising": f"{getattr(request, 'denoising_strength', 0):g}",
        "seed_first": str(plan.images[0].seed),
        "seed_last": str(plan.images[-1].seed),
        "batch_number": str(image.index % plan.request.batch_size + 1),
        "batch_size": str(plan.request.batch_size),
        "generation_number": str(image.index + 1),
        "job_timestamp": plan.created_at.strftime("%Y%m%d%H%M%S"),
    }
    max_words = plan.settings.directories_max_prompt_words
    return FilenameTokens(
        request.output_subfolder,
        image.seed,
        values,
        max_prompt_words=max_words,
        computed=computed,
    )
