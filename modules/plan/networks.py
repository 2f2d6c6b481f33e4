"""Networks of a planned pass: the files that its prompt names, with their weights."""

from __future__ import annotations

from dataclasses import dataclass

from modules.plan.loras import LoraUse


@dataclass(frozen=True)
class PlannedNetworks:
    """The networks that a pass adds to its checkpoint.

    Args:
        loras: In the order of the prompt.
    """

    loras: tuple[LoraUse, ...] = ()


NO_NETWORKS = PlannedNetworks()
