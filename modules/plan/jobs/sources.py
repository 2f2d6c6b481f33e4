"""PlanSources: where the planners of JOB_KINDS look up the names of a request."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from modules.models.index import ModelIndex
from modules.plan.tables import PlanTables


@dataclass(frozen=True)
class PlanSources:
    """What planners look up.

    Args:
        models: The model files.
        tables: Upscalers and other tables.
        face_detector: The weights of the network that finds faces; None where there is none.
    """

    models: ModelIndex
    tables: PlanTables
    face_detector: Path | None = None
