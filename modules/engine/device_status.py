"""Status of the device, for the page's header."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class DeviceStatus:
    """A snapshot of the device's status.

    Args:
        phase: Its lifecycle phase.
        text: One line for the user.
        device: The device's display name, empty until it is known.
        warning: A permanent warning, such as "no graphics card was found".
        checkpoint: Name of the loaded checkpoint, empty if none is loaded.
    """

    phase: Literal["starting", "loading", "ready", "failed"]
    text: str
    device: str = ""
    warning: str = ""
    checkpoint: str = ""
