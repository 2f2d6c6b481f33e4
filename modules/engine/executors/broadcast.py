"""Broadcast: work that every worker does, such as loading a checkpoint, with one future for all of them."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import Future
from functools import partial
from typing import Any

from modules.plan.work import LoadModel, UnloadModels, Work

logger = logging.getLogger(__name__)


def is_for_all(work: Work[Any]) -> bool:
    """Return whether every worker does some work."""
    return isinstance(work, LoadModel | UnloadModels)


class Broadcast:
    """Joins the futures of the workers: it has failed only where all of them have.

    Attributes:
        future: Ends with the last of them.
    """

    def __init__(self) -> None:
        self.future: Future[Any] = Future()
        self._lock = threading.Lock()
        self._waiting_count = 0
        self._has_success = False
        self._error: BaseException | None = None

    def add(self, worker: str, future: Future[Any]) -> None:
        """Add the future of a worker, before any of them can end."""
        self._waiting_count += 1
        future.add_done_callback(partial(self._on_end, worker))

    def _on_end(self, worker: str, future: Future[Any]) -> None:
        error = future.exception()
        with self._lock:
            self._waiting_count -= 1
            self._has_success = self._has_success or error is None
            self._error = self._error or error
            is_last = not self._waiting_count
        if error is not None:
            logger.warning("The worker %s: %s", worker, error)
        if not is_last or not self.future.set_running_or_notify_cancel():
            return
        if self._has_success or self._error is None:
            self.future.set_result(None)
        else:
            self.future.set_exception(self._error)
