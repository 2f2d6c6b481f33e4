"""JSON of a job: its progress for the page, its row in the job lists, and the whole job for the jobs API."""

from __future__ import annotations

from typing import Any

from modules.engine.jobs.job_record import JobRecord
from modules.engine.jobs.job_status import JobStatus
from modules.engine.jobs.queue import JobQueue
from modules.params.field_schema import MAX_JAVASCRIPT_INTEGER

_SUMMARY_FIELDS = ("prompt", "width", "height")


def progress_to_json(status: JobStatus, queue: JobQueue) -> dict[str, Any]:
    """Return the progress of a job, as the page shows it while the job runs."""
    return {
        "id": status.id,
        "state": status.state,
        "phase": queue.waiting_phase(status.id) if status.state == "queued" else status.phase,
        "fraction": status.progress.fraction,
        "step": status.progress.step,
        "steps": status.progress.steps,
        "steps_per_second": status.progress.steps_per_second,
        "eta_s": status.progress.eta_s,
        "images": len(status.images),
        "image_count": status.image_count,
        "notes": status.notes,
        "error": status.error,
        "preview": status.preview_number,
    }


def summary_to_json(record: JobRecord, queue: JobQueue) -> dict[str, Any]:
    """Return the row of a job in the list of all jobs."""
    status = queue.current_status(record)
    return {
        "id": record.id,
        "state": status.state,
        "source": record.queue_position.source,
        "task": record.stored_request.task,
        **{name: record.request_fields.get(name) for name in _SUMMARY_FIELDS},
        "checkpoint": record.request_fields.get("sd_model_checkpoint"),
        "created": record.created,
        "started": record.started,
        "ended": record.ended,
        "phase": status.phase,
        "progress": status.progress.fraction,
        "step": status.progress.step,
        "steps": status.progress.steps,
        "eta_s": status.progress.eta_s,
        "preview": status.preview_number,
        "image_count": status.image_count,
        "images": [
            {"id": make_image_id(record.id, position), "seed": seed_to_json(image.seed)}
            for position, image in enumerate(status.images)
        ],
        "notes": status.notes,
        "error": status.error,
    }


def job_to_json(record: JobRecord, queue: JobQueue) -> dict[str, Any]:
    """Return all that is known of a job except its input images."""
    summary = summary_to_json(record, queue)
    for fields, image in zip(summary["images"], queue.current_status(record).images, strict=False):
        fields["infotext"] = image.infotext
        fields["url"] = f"/api/v1/images/{fields['id']}"
    request = record.request_fields
    seeds = {name: seed_to_json(request[name]) for name in ("seed", "subseed") if name in request}
    return {**summary, "request": {**request, **seeds}}


def seed_to_json(seed: int) -> int | str:
    """Return a seed, as text where JavaScript would round the number; seeds are read as text too."""
    return seed if seed <= MAX_JAVASCRIPT_INTEGER else str(seed)


def make_image_id(job_id: str, position: int) -> str:
    """Return the id by which a finished image is requested."""
    return f"{job_id}.{position}"
