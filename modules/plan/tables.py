"""PlanTables: the tables in which the planner looks up the names of a request."""

from __future__ import annotations

from dataclasses import dataclass, field

from modules.core.registry import Registry
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
