"""Lets a training sleep, and go on where it was stopped."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Protocol

import torch

if TYPE_CHECKING:
    from pathlib import Path

INTERVAL_S = 60


def wait_while_paused(work_dir: Path) -> None:
    """Sleep while the work folder holds a file named PAUSE."""
    while (work_dir / "PAUSE").exists():
        time.sleep(1)


def save(state: dict[str, Any], file: Path) -> None:
    """Write a state whole, or leave the file as it was."""
    part = file.with_suffix(".part")
    torch.save(state, part)
    part.replace(file)


class Stateful(Protocol):
    """A model, an optimizer or a schedule."""

    def state_dict(self) -> dict[str, Any]:
        """Return everything needed to go on."""
        ...

    def load_state_dict(
        self, state: dict[str, Any]
    ) -> Any:  # torch's own return nothing or a report
        """Take it up again."""
        ...


class Resume:
    """The state of a running training in one file, which is gone when the training is done.

    Args:
        file: Where it lies.
        parts: What has a state, in an order of the caller's.
        interval_s: Seconds between two savings.
    """

    def __init__(self, file: Path, *parts: Stateful, interval_s: float = INTERVAL_S) -> None:
        self._file, self._parts, self._interval_s = file, parts, interval_s
        self._saved = time.monotonic()

    def begin(self) -> int:
        """Return the first step to do, with the parts as they were then; 0 in a new training."""
        if not self._file.exists():
            return 0
        state = torch.load(self._file)
        for part, saved in zip(self._parts, state["parts"], strict=True):
            part.load_state_dict(saved)
        return state["step"]

    def keep(self, step: int) -> None:
        """Save once in an interval, so that `step` is the next to do."""
        if time.monotonic() - self._saved < self._interval_s:
            return
        self._file.parent.mkdir(parents=True, exist_ok=True)
        save({"step": step, "parts": [p.state_dict() for p in self._parts]}, self._file)
        self._saved = time.monotonic()

    def done(self) -> None:
        """Forget the state."""
        self._file.unlink(missing_ok=True)
