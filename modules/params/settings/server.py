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


class ServerSettings(BaseModel):
    """What the page shows and the HTTP API does beside making pictures."""

    send_seed: bool = param(
        True,
        "Send seed when sending prompt or image to other interface",
        help="Off leaves the seed of the other tab as it is.",
        section="page",
    )
    send_size: bool = param(
        True,
        "Send size when sending prompt or image to another interface",
        help="Off leaves the size of the other tab as it is.",
        section="page",
    )
    api_enable_requests: bool = param(
        False,
        "Allow http:// and https:// URLs for input images in API",
        help="Lets the server fetch pictures from public addresses; local and private ones stay refused.",
        section="api",
    )
