"""Typed events and the bus that carries them upward, from the device's thread to whoever watches."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class EngineState:
    """What the device is doing: shown in the page's header.

    Args:
        phase: "starting", "loading", "ready" or "failed".
        text: One line for the user.
        device: Human name of the device, empty until it is known.
        warning: A lasting remark, such as "no GPU was found".
        checkpoint: Name of the loaded checkpoint, empty when none is.
    """

    phase: str
    text: str
    device: str = ""
    warning: str = ""
    checkpoint: str = ""


@dataclass(frozen=True)
class JobChanged:
    """A job's state or progress is no longer what it was."""

    job_id: str


Event = EngineState | JobChanged
Handler = Callable[[Event], None]


class EventBus:
    """Calls every subscriber for each event, on the publisher's thread. Subscribers must be quick."""

    def __init__(self) -> None:
        self._handlers: list[Handler] = []
        self._lock = threading.Lock()

    def subscribe(self, handler: Handler) -> Callable[[], None]:
        """Add a subscriber and return the function that removes it."""
        with self._lock:
            self._handlers.append(handler)

        def unsubscribe() -> None:
            with self._lock:
                if handler in self._handlers:
                    self._handlers.remove(handler)

        return unsubscribe

    def publish(self, event: Event) -> None:
        """Hand the event to every subscriber."""
        with self._lock:
            handlers = list(self._handlers)
        for handler in handlers:
            handler(event)
