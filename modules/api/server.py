"""Stopping the server over HTTP, with `--api-server-stop`."""

from __future__ import annotations

import signal

from fastapi import APIRouter, BackgroundTasks


def server_router() -> APIRouter:
    """Return the routes that stop the server as Ctrl-C does, once the answer is sent."""
    router = APIRouter(prefix="/sdapi/v1")

    @router.post("/server-stop")
    @router.post("/server-kill")
    def stop(tasks: BackgroundTasks) -> str:
        tasks.add_task(signal.raise_signal, signal.SIGINT)
        return "Stopping."

    return router
