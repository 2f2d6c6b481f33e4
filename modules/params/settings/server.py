"""Options of the job queue, of the page and of the HTTP API."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel

from modules.params.param import param


class QueueSettings(BaseModel):
    """What happens to waiting jobs when the server restarts."""

    queue_after_restart: Literal["resumed", "paused"] = param(
        "resumed",
        "Waiting jobs after a restart",
        help="resumed runs the jobs that were waiting when the server stopped; paused keeps them until you press Resume.",
        section="queue",
    )
    script_max_cells: int = param(
        5000,
        "Most pictures of a script",
        help="An X/Y/Z plot or another script with more is refused before it starts; a grid of more needs hours.",
        ge=1,
        le=1_000_000,
        section="queue",
    )


class ServerSettings(BaseModel):
    """Options of the page and of the HTTP API that do not affect images. No job can override them."""

    quicksettings_list: tuple[str, ...] = param(
        ("sd_model_checkpoint", "sd_vae", "CLIP_stop_at_last_layers"),
        "Quicksettings list",
        help="Options that stand in the bar above the tabs, in this order; the checkpoint is always there.",
        choices="options",
        section="page",
    )
    send_seed: bool = param(
        True,
        "Send seed when sending prompt or image to other interface",
        help="Off keeps the seed of the other tab.",
        section="page",
    )
    send_size: bool = param(
        True,
        "Send size when sending prompt or image to another interface",
        help="Off keeps the size of the other tab.",
        section="page",
    )
    notification_audio: bool = param(
        False,
        "Play notification sound after image generation",
        help="Plays two notes when the last waiting job of a tab has ended.",
        section="page",
    )
    notification_volume: int = param(
        100,
        "Notification sound volume",
        help="In percent.",
        section="page",
        ge=0,
        le=100,
    )
    browser_notification: bool = param(
        False,
        "Browser notification after image generation",
        help="Shows a notification of the system if the page is not in sight; the browser asks once whether it may.",
        section="page",
    )
    gallery_a1111_folder: str = param(
        "",
        "Folder of an A1111 installation whose pictures the gallery shows",
        help="The folder that holds webui.py; its pictures are only read, never moved or deleted.",
        section="page",
    )
    api_enable_requests: bool = param(
        False,
        "Allow http:// and https:// URLs for input images in API",
        help="Lets the server download pictures from public addresses; local and private addresses are always refused.",
        section="api",
    )
