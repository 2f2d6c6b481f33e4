"""`info`: A1111's description of finished images, as a JSON string."""

from __future__ import annotations

import json
from typing import Any

from modules.engine.jobs.job import Job
from modules.params.image import is_image_field

_NOT_IN_INFO = {"n_iter", "sd_model_checkpoint", "sd_vae", "scheduler", "override_settings"}


def includes_grid(job: Job) -> bool:
    """Return whether the first image of the response is the grid."""
    return job.grid_path is not None and job.plan.settings.return_grid


def make_info(job: Job) -> str:
    """Return A1111's `info` of a job that has ended."""
    plan, images = job.plan, job.status().images
    request = plan.request
    fields = type(request).model_fields
    image_fields = {name for name, field in fields.items() if is_image_field(field)}
    planned = {image.index: image for image in plan.images}
    grid = includes_grid(job)
    first = planned[images[0].index] if images else plan.images[0]
    info: dict[str, Any] = {
        **request.model_dump(exclude=_NOT_IN_INFO | image_fields),
        "seed": first.seed,
        "all_seeds": [image.seed for image in images],
        "subseed": first.subseed,
        "all_subseeds": [planned[image.index].subseed for image in images],
        "all_prompts": [request.prompt for _ in images],
        "all_negative_prompts": [request.negative_prompt for _ in images],
        "infotexts": [image.infotext for image in (*images[: int(grid)], *images)],
        "index_of_first_image": int(grid),
        "restore_faces": False,
        "face_restoration_model": None,
        "sd_model_name": plan.checkpoint.model_name,
        "sd_model_hash": plan.checkpoint.short_hash,
        "sd_vae_name": plan.model.vae.name if plan.model.vae else None,
        "sd_vae_hash": None,
        "extra_generation_params": {},
        "job_timestamp": plan.created_at.strftime("%Y%m%d%H%M%S"),
        "clip_skip": plan.settings.CLIP_stop_at_last_layers,
        "is_using_inpainting_conditioning": request.task == "inpaint",
        "version": "",
    }
    return json.dumps(info, ensure_ascii=False)
