"""PlanTables and PlanSources: where planners look up the names of a request."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from modules.core.registry import Registry
from modules.models.index import ModelIndex
from modules.models.merging.recipes import RECIPES, Recipe
from modules.models.upscaling.upscalers import UPSCALERS, Upscaler
from modules.params.requests.tasks import TASKS, Task
from modules.plan.step_extensions import StepExtensionRow, no_step_extensions
from modules.sampling.samplers import SAMPLERS, Sampler
from modules.sampling.schedules import SCHEDULES, Schedule


@dataclass(frozen=True)
class PlanTables:
    """The tables of one engine, with the rows of extensions."""

    samplers: Registry[Sampler] = SAMPLERS
    schedules: Registry[Schedule] = SCHEDULES
    upscalers: Registry[Upscaler] = UPSCALERS
    tasks: Registry[Task] = TASKS
    recipes: Registry[Recipe] = RECIPES
    step_extensions: Registry[StepExtensionRow] = field(default_factory=no_step_extensions)


BUILTIN_TABLES = PlanTables()


@dataclass(frozen=True)
class PlanSources:
    """What the planners of JOB_KINDS look up.

    Args:
        models: The model files.
        tables: Upscalers and other tables.
        face_detector: The weights of the network that finds faces; None where there is none.
    """

    models: ModelIndex
    tables: PlanTables
    face_detector: Path | None = None
