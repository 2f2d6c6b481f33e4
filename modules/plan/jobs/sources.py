"""PlanSources: where the planners of JOB_KINDS look up the names of a request."""

from __future__ import annotations

from dataclasses import dataclass

from modules.models.index import ModelIndex
from modules.plan.tables import PlanTables


@dataclass(frozen=True)
class PlanSources:
    """What planners look up.

    Args:
        models: The model files.
        tables: Upscalers and other tables.
    """

    models: ModelIndex
    tables: PlanTables
