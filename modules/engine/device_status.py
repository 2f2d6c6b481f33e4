"""What the device is doing, for the page's header."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class DeviceStatus:
    """One moment of the device.

    Args:
        phase: Where it is in its life.
        text: One line for the user.
        device: The device's name for people, empty until it is known.
        warning: A lasting remark, such as "no graphics card was found".
        checkpoint: Name of the loaded checkpoint, empty when none is.
    """

    phase: Literal["starting", "loading", "ready", "failed"]
    text: str
    device: str = ""
    warning: str = ""
    checkpoint: str = ""
