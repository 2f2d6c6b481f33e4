"""Progress of a job as server-sent events, until the job has ended."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from typing import Any

from fastapi.responses import StreamingResponse

from modules.api.job_json import progress_to_json
from modules.engine.engine import Engine

# A finished image is sent at once, steps not as often as a fast device makes them.
_POLL_S = 0.04
_PROGRESS_POLLS = 5
# A comment line is sent this often, so that proxies keep a silent stream open.
_HEARTBEAT_POLLS = 250
_URGENT = ("state", "images", "phase")


def stream_job(engine: Engine, job_id: str, with_preview: bool = False) -> StreamingResponse:
    """Return the event stream of a job; that of an ended job has one event.

    Args:
        engine: Holds the job.
        job_id: Id of the job.
        with_preview: Whether an event contains the preview image when there is a new one.

    Raises:
        NotFound: the job is unknown.
    """
    engine.status(job_id)
    return StreamingResponse(_events(engine, job_id, with_preview), media_type="text/event-stream")


async def _events(engine: Engine, job_id: str, with_preview: bool) -> AsyncIterator[str]:
    """Yield the job's progress whenever it has changed, until the job has ended."""
    last_sent: dict[str, Any] = {}
    silent_polls = 0
    while True:
        status = engine.status(job_id, watched=True)
        now = progress_to_json(status, engine.queue)
        is_due = silent_polls >= _PROGRESS_POLLS or any(
            now[key] != last_sent.get(key) for key in _URGENT
        )
        if now != last_sent and is_due:
            is_new = with_preview and status.preview_number > last_sent.get("preview", 0)
            yield _event(
                {**now, "image": _data_uri(engine.job(job_id).preview())} if is_new else now
            )
            last_sent, silent_polls = now, 0
        elif (silent_polls := silent_polls + 1) % _HEARTBEAT_POLLS == 0:
            yield ": still here\n\n"
        if status.has_ended:
            return
        await asyncio.sleep(_POLL_S)


def _event(data: dict[str, Any]) -> str:
    return f"data: {json.dumps(data)}\n\n"


def _data_uri(jpeg: bytes) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode('ascii')}"
