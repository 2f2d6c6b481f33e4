"""JOB_KINDS: jobs other than the generation of images, and the planner of every job.

A kind is a class of requests, a class of plans and one function that makes a plan of a request; the backend has one
function for the class of plans, in its HANDLERS.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from modules.core.errors import UserError
from modules.core.registry import Registry, did_you_mean
from modules.params.requests.base import GenerationRequest
from modules.params.requests.extras import ExtrasRequest
from modules.params.requests.job_request import JobRequest
from modules.params.requests.merge import MergeRequest
from modules.params.requests.tasks import TASKS, Task
from modules.params.settings import Settings
from modules.plan.job_plan import JobPlan
from modules.plan.jobs.extras import plan_extras
from modules.plan.jobs.merge import plan_merge
from modules.plan.planner import Planner
from modules.plan.tables import PlanSources


@dataclass(frozen=True)
class JobKind:
    """One row of JOB_KINDS.

    Args:
        name: The `task` of its requests, as the HTTP API and stored jobs spell it.
        request: The class of its requests.
        plan: Returns the plan of a request with the settings of that moment. Raises a WebUIError for a request that
            cannot be carried out, as far as that is known without the device.
    """

    name: str
    request: type[JobRequest]
    plan: Callable[[Any, Settings, PlanSources], JobPlan]  # Any: each row has its class of requests


JOB_KINDS: Registry[JobKind] = Registry(
    "kind of job",
    [
        JobKind("extras", ExtrasRequest, plan_extras),
        JobKind("merge", MergeRequest, plan_merge),
    ],
)


class JobPlanner:
    """Plans requests of every class.

    Args:
        generation: Plans those that generate images.
        sources: Where the names of all others are looked up.
        kinds: All other kinds of jobs.
    """

    def __init__(
        self, generation: Planner, sources: PlanSources, kinds: Registry[JobKind] = JOB_KINDS
    ) -> None:
        self._generation = generation
        self._sources = sources
        self._kinds = kinds

    def plan(self, request: JobRequest, settings: Settings) -> JobPlan:
        """Return the plan of a request.

        Raises:
            WebUIError: it cannot be carried out; see `Planner.plan` for one that generates images.
        """
        if isinstance(request, GenerationRequest):
            return self._generation.plan(request, settings)
        return self._kinds.get(request.task).plan(request, settings, self._sources)


def find_request_class(
    name: str, tasks: Iterable[Task] = TASKS, kinds: Iterable[JobKind] = JOB_KINDS
) -> type[JobRequest]:
    """Return the class of the requests that ask for a task or for another kind of job.

    Raises:
        UserError: there is neither in this version.
    """
    classes: dict[str, type[JobRequest]] = {row.name: row.request for row in (*tasks, *kinds)}
    if name not in classes:
        raise UserError(f"There is no task {name!r} in this version.", did_you_mean(name, classes))
    return classes[name]
