"""Values of the filename pattern tokens, such as [seed]."""

from __future__ import annotations

from pathlib import Path

from modules.core.registry import Registry
from modules.images.filename import FilenameToken, FilenameTokens
from modules.plan.job_plan import JobPlan
from modules.plan.plan import ImagePlan, Plan


def make_filename_tokens(
    plan: JobPlan, index: int, computed: Registry[FilenameToken]
) -> FilenameTokens:
    """Return the token values for one image of a plan.

    Args:
        plan: The plan.
        index: The image's index among those of the plan.
        computed: The tokens that are computed from these values.
    """
    if isinstance(plan, Plan):
        plan = plan.for_image(index)
    values = {
        **(_generation_values(plan, plan.images[index]) if isinstance(plan, Plan) else {}),
        "generation_number": str(index + 1),
        "job_timestamp": plan.created_at.strftime("%Y%m%d%H%M%S"),
    }
    return FilenameTokens(
        plan.request.output_subfolder,
        plan.image_seed(index),
        values,
        max_prompt_words=plan.settings.directories_max_prompt_words,
        computed=computed,
    )


def _generation_values(plan: Plan, image: ImagePlan) -> dict[str, str]:
    """Return the values that only a generated image has."""
    request, model = plan.single_image_request(image), plan.model
    return {
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
    }
