"""The jobs API: a request is answered at once with a job id, by which clients query and control the job."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Response
from fastapi.responses import StreamingResponse
from pydantic import GetJsonSchemaHandler, RootModel

from modules.api.event_stream import stream_job
from modules.api.image_files import image_response
from modules.api.job_json import job_to_json
from modules.api.json_check import CheckedRouter
from modules.api.sdapi.requests.schema import make_schema
from modules.core.errors import UserError
from modules.engine.engine import Engine
from modules.engine.jobs.fair_queue import Move
from modules.params.param import validate
from modules.params.requests.base import round_sides
from modules.params.requests.job_request import JobRequest
from modules.params.requests.tasks import TASKS
from modules.params.settings import Settings
from modules.plan.jobs.kinds import JOB_KINDS


class JobBody(RootModel[dict[str, Any]]):
    """Any JSON object, described as a task or another kind of job with the fields of all; `parse_job` checks which fields the task has."""

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: Any, handler: GetJsonSchemaHandler, /
    ) -> dict[str, Any]:
        """Return the schema of the fields instead of that of any object."""
        del core_schema, handler
        names = [*TASKS.names(), *JOB_KINDS.names()]
        properties: dict[str, Any] = {
            "task": {"enum": names, "default": "txt2img", "description": "What to do."}
        }
        for model in dict.fromkeys(row.request for row in (*TASKS, *JOB_KINDS)):
            properties |= make_schema(model, {}, {})["properties"]
        return {"title": cls.__name__, "type": "object", "properties": properties}


def jobs_router(engine: Engine) -> APIRouter:
    """Return the routes below /api/v1."""
    router = CheckedRouter(prefix="/api/v1", tags=["jobs"])
    queue = engine.queue

    @router.post("/jobs", status_code=202)
    def submit(body: JobBody) -> dict[str, Any]:
        """Queue a job. The body has a `task` and the fields of its request; unknown fields are rejected."""
        request, warnings = parse_job(
            body.root, engine.registries.request_class, type(engine.settings)
        )
        return {**job_json(engine.submit(request, "api").id), "warnings": warnings}

    @router.get("/jobs")
    def listed(
        state: Literal["all", "waiting", "ended"] = "all",
        limit: Annotated[int, Query(ge=1, le=1000)] = 50,
    ) -> dict[str, Any]:
        """List the running job, the waiting jobs in order, and the ended jobs, newest first."""
        waiting = queue.store.active_jobs(limit) if state != "ended" else []
        ended = queue.store.ended_jobs(limit) if state != "waiting" else []
        return {
            "paused": queue.is_paused,
            "waiting_count": queue.store.waiting_count(),
            "jobs": [job_to_json(record, queue) for record in (*waiting, *ended)],
        }

    @router.get("/jobs/{job_id}")
    def job_json(job_id: str) -> dict[str, Any]:
        """Return all that is known of a job: state, progress, finished images, request."""
        return job_to_json(queue.record(job_id), queue)

    @router.delete("/jobs/{job_id}")
    def cancel(job_id: str, after_picture: bool = False) -> dict[str, Any]:
        """Stop a job at its next step, or after its current image; an ended job is left unchanged."""
        if not queue.status(job_id).has_ended:
            queue.cancel(job_id, after_picture)
        return job_json(job_id)

    @router.get("/jobs/{job_id}/events", response_class=StreamingResponse)
    def events(job_id: str) -> StreamingResponse:
        """Stream server-sent events of a job: its progress, and the preview in `image` when there is a new one."""
        return stream_job(engine, job_id, with_preview=True)

    @router.get("/images/{image_id}", response_class=Response)
    def image(image_id: str) -> Response:
        """Return a finished image as it was saved."""
        return image_response(engine, image_id)

    _add_control_routes(router, engine)
    return router


def _add_control_routes(router: APIRouter, engine: Engine) -> None:
    """Add the routes that retry and move jobs, and pause and resume the queue."""
    queue = engine.queue

    @router.post("/jobs/{job_id}/retry", status_code=202)
    def retry(job_id: str) -> dict[str, Any]:
        """Queue an ended job again, as a new job that generates the same images."""
        return job_to_json(queue.record(queue.retry(job_id).id), queue)

    @router.post("/jobs/{job_id}/move/{where}")
    def move(job_id: str, where: Move) -> dict[str, Any]:
        """Move a waiting job forward or back in the queue."""
        queue.move(job_id, where)
        return job_to_json(queue.record(job_id), queue)

    @router.post("/queue/pause")
    def pause() -> dict[str, bool]:
        """Pause the queue: no further job starts."""
        queue.pause()
        return {"paused": queue.is_paused}

    @router.post("/queue/resume")
    def resume() -> dict[str, bool]:
        """Resume the queue."""
        queue.resume()
        return {"paused": queue.is_paused}


def parse_job(
    body: Mapping[str, Any],
    find_class: Callable[[str], type[JobRequest]],
    settings_class: type[Settings],
) -> tuple[JobRequest, list[str]]:
    """Return the request in a body, and a warning if its size was rounded.

    Args:
        body: JSON.
        find_class: Returns the class of a task's requests.
        settings_class: Declares the options that it may override.

    Raises:
        UserError: the task is unknown, or a field is unknown or not valid.
    """
    fields = {name: value for name, value in body.items() if value is not None}
    task = fields.pop("task", "txt2img")
    if not isinstance(task, str):
        raise UserError(f"There is no task {task!r}.")
    request_type = find_class(task).with_settings(settings_class)
    fields, warnings = round_sides(request_type, fields)
    return validate(request_type, fields), warnings
