"""What executors read of their work: the checkpoint that it loads, its phases, and the memory of a device."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import psutil

from modules.models.checkpoint import Checkpoint
from modules.params.events import Event, Phase, Sink
from modules.plan.plan import Plan
from modules.plan.work import EstimateDepth, LoadModel, RecordForward, UnloadModels, Work


def checkpoint_of(work: Work[Any]) -> Checkpoint | None:
    """Return the checkpoint that some work loads first; None if it needs none."""
    match work:
        case Plan():
            return work.checkpoint
        case LoadModel() | EstimateDepth() | RecordForward():
            return work.model.checkpoint
        case _:
            return None


def checkpoint_after(work: Work[Any], name: str) -> str:
    """Return the name of the checkpoint that is loaded after some work, where the one of that name was before."""
    if isinstance(work, UnloadModels):
        return ""
    checkpoint = checkpoint_of(work)
    return name if checkpoint is None else checkpoint.name


def following(sink: Sink, on_phase: Callable[[str], None]) -> Sink:
    """Return a sink that also passes the text of each phase to `on_phase`."""

    def receive(event: Event) -> None:
        if isinstance(event, Phase):
            on_phase(event.text)
        sink(event)

    return receive


def device_memory(stats: Mapping[str, Any]) -> tuple[int, int]:
    """Return the bytes in use and in all of a device, of this process and the computer where it has none of its own.

    Args:
        stats: As `Executor.memory` returns them. Any: its values are numbers, or mappings of them.
    """
    system = stats.get("system")
    if system is not None:
        return system["used"], system["total"]
    return psutil.Process().memory_info().rss, psutil.virtual_memory().total
