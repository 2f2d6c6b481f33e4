"""The options of the queue."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

from modules.params.param import param


class QueueSettings(BaseModel):
    """What becomes of jobs that a stopped server leaves behind."""

    queue_after_restart: Literal["resumed", "paused"] = param(
        "resumed",
        "Waiting jobs after a restart",
        help="resumed goes on with the jobs that waited when the server stopped; paused lets them wait for Resume.",
        section="queue",
    )
