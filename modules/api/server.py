"""Stopping the server over HTTP, with `--api-server-stop`."""

from __future__ import annotations

import os
import signal
import threading

from fastapi import APIRouter, BackgroundTasks

from modules.core.errors import WebUIError


class NoLauncher(WebUIError):
    """The server cannot start itself again on this system."""

    status_code = 501


def server_router(restart_requested: threading.Event) -> APIRouter:
    """Return the routes that stop the server as Ctrl-C does, once the answer is sent.

    Args:
        restart_requested: Set when the server is to be started once more after it has stopped.
    """
    router = APIRouter(prefix="/sdapi/v1")

    @router.post("/server-stop")
    @router.post("/server-kill")
    def stop(tasks: BackgroundTasks) -> str:
        tasks.add_task(signal.raise_signal, signal.SIGINT)
        return "Stopping."

    @router.post("/server-restart")
    def restart(tasks: BackgroundTasks) -> str:
        if os.name == "nt":  # a program cannot take its own place there
            raise NoLauncher("The server cannot start itself again on Windows.", "Start it anew.")
        restart_requested.set()
        tasks.add_task(signal.raise_signal, signal.SIGINT)
        return "Restarting."

    return router
