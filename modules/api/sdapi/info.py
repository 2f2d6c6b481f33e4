"""`info`: A1111's description of finished images, as a JSON string."""

from __future__ import annotations

import json
from typing import Any

from modules.core.registry import Registry
from modules.engine.jobs.job import Job
from modules.engine.jobs.job_group import JobGroup
from modules.infotext import parse_infotext
from modules.models.checkpoint import Checkpoint
from modules.params.image import is_image_field
from modules.params.requests.base import GenerationRequest, require_generation
from modules.params.requests.tasks import Task
from modules.plan.plan import require_plan

_NOT_IN_INFO = {
    *("n_iter", "sd_model_checkpoint", "sd_vae", "scheduler", "override_settings"),
    "control_units",
}


def includes_grid(job: Job) -> bool:
    """Return whether the first image of the response is the grid."""
    return job.grid_path is not None and job.plan.settings.return_grid


def make_info(job: Job, tasks: Registry[Task]) -> str:
    """Return A1111's `info` of a job that has ended."""
    plan, images = require_plan(job.plan), job.answered_images()
    planned = {image.index: image for image in plan.images}
    grid = includes_grid(job)
    first = planned[images[0].index] if images else plan.images[0]
    request = plan.for_image(first.index).request
    requests = [plan.for_image(image.index).request for image in images]
    info: dict[str, Any] = {
        **_request_fields(request),
        "seed": first.seed,
        "all_seeds": [image.seed for image in images],
        "subseed": first.subseed,
        "all_subseeds": [planned[image.index].subseed for image in images],
        "all_prompts": [request.prompt for request in requests],
        "all_negative_prompts": [request.negative_prompt for request in requests],
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
        "is_using_inpainting_conditioning": "mask" in tasks.get(request.task).needs,
        "version": "",
    }
    return json.dumps(info, ensure_ascii=False)


def make_group_info(group: JobGroup, checkpoint: Checkpoint, tasks: Registry[Task]) -> str:
    """Return A1111's `info` of a script's images; what cells have in common is that of the script's request."""
    images, request = group.answered_images(), require_generation(group.spec.request)
    singles = [
        image for image in images if image.kind != "grid"
    ]  # the lists of A1111 have these alone
    infotexts = [parse_infotext(image.infotext) for image in singles]
    seeds = [image.seed for image in singles]
    vaes = (infotext.pairs["VAE"] for infotext in infotexts if "VAE" in infotext.pairs)
    info: dict[str, Any] = {
        **_request_fields(request),
        "seed": seeds[0] if seeds else request.seed,
        "all_seeds": seeds,
        "subseed": request.subseed,
        "all_subseeds": [
            int(infotext.pairs.get("Variation seed", request.subseed)) for infotext in infotexts
        ],
        "all_prompts": [infotext.prompt for infotext in infotexts],
        "all_negative_prompts": [infotext.negative_prompt for infotext in infotexts],
        "infotexts": [image.infotext for image in images],
        "index_of_first_image": len(images) - len(singles),
        "restore_faces": False,
        "face_restoration_model": None,
        "sd_model_name": checkpoint.model_name,
        "sd_model_hash": checkpoint.short_hash,
        "sd_vae_name": next(vaes, None),
        "sd_vae_hash": None,
        "extra_generation_params": {},
        "job_timestamp": group.created_at.strftime("%Y%m%d%H%M%S"),
        "clip_skip": group.spec.settings.CLIP_stop_at_last_layers,
        "is_using_inpainting_conditioning": "mask" in tasks.get(request.task).needs,
        "version": "",
    }
    return json.dumps(info, ensure_ascii=False)


def _request_fields(request: GenerationRequest) -> dict[str, Any]:
    """Return the fields of a request without its input images and A1111's options."""
    fields = type(request).model_fields
    image_fields = {name for name, field in fields.items() if is_image_field(field)}
    return request.model_dump(exclude=_NOT_IN_INFO | image_fields)
