"""A job as a stream of server-sent events, until it has ended."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from typing import Any

from fastapi.responses import StreamingResponse

from modules.api.job_json import progress_to_json
from modules.engine.engine import Engine

_POLL_S = 0.2
# A sign of life, so that proxies keep a silent stream open.
_HEARTBEAT_POLLS = 50


def stream_job(engine: Engine, job_id: str, with_preview: bool = False) -> StreamingResponse:
    """Return the stream of a job; one that is long past has one event.

    Args:
        engine: Knows the job.
        job_id: The job.
        with_preview: Whether events carry the preview itself, whenever there is a new one.

    Raises:
        NotFound: it is not known.
    """
    engine.status(job_id)
    return StreamingResponse(_events(engine, job_id, with_preview), media_type="text/event-stream")


async def _events(engine: Engine, job_id: str, with_preview: bool) -> AsyncIterator[str]:
    """Yield the job's description whenever it has changed, until it has ended."""
    told: dict[str, Any] = {}
    silent_polls = 0
    while True:
        status = engine.status(job_id, watched=True)
        now = progress_to_json(status, engine.queue)
        if now != told:
            is_new = with_preview and status.preview_number > told.get("preview", 0)
            yield _event(
                {**now, "image": _data_uri(engine.job(job_id).preview())} if is_new else now
            )
            told, silent_polls = now, 0
        elif (silent_polls := silent_polls + 1) % _HEARTBEAT_POLLS == 0:
            yield ": still here\n\n"
        if status.has_ended:
            return
        await asyncio.sleep(_POLL_S)


def _event(told: dict[str, Any]) -> str:
    return f"data: {json.dumps(told)}\n\n"


def _data_uri(jpeg: bytes) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode('ascii')}"
