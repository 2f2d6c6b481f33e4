"""Routes that stop or restart the server, with `--api-server-stop`."""

from __future__ import annotations

import os
import signal
import threading

from fastapi import APIRouter, BackgroundTasks

from modules.api.json_check import CheckedRouter
from modules.core.errors import WebUIError


class NoLauncher(WebUIError):
    """The server cannot restart itself on this system."""

    status_code = 501


def server_router(restart_requested: threading.Event) -> APIRouter:
    """Return the routes that stop the server as Ctrl-C does, after the response is sent.

    Args:
        restart_requested: Set when the server is to start again after it has stopped.
    """
    router = CheckedRouter(prefix="/sdapi/v1")

    @router.post("/server-stop")
    @router.post("/server-kill")
    def stop(tasks: BackgroundTasks) -> str:
        """Stop the server as Ctrl-C does; only with `--api-server-stop`."""
        tasks.add_task(signal.raise_signal, signal.SIGINT)
        return "Stopping."

    @router.post("/server-restart")
    def restart(tasks: BackgroundTasks) -> str:
        """Stop the server and start it again; only with `--api-server-stop`."""
        restart_server(restart_requested, tasks)
        return "Restarting."

    return router


def restart_server(restart_requested: threading.Event, tasks: BackgroundTasks) -> None:
    """Stop the server and let it start again, once the response is sent.

    Raises:
        NoLauncher: this system cannot.
    """
    if os.name == "nt":  # a process cannot replace itself there
        raise NoLauncher("The server cannot restart itself on Windows.", "Start it again by hand.")
    restart_requested.set()
    tasks.add_task(signal.raise_signal, signal.SIGINT)
