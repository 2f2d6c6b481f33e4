"""Scripts that are chosen in a form of the page."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from modules.core.errors import UserError
from modules.core.text import escape
from modules.engine.engine import Engine
from modules.engine.jobs.job_group import JobGroup
from modules.params.requests.base import GenerationRequest
from modules.scripts.protocol import Script


def find_page_script(engine: Engine, name: str, task: str) -> Script:
    """Return a script that can be chosen for a task.

    Raises:
        NotFound: there is no such script.
        UserError: it cannot be chosen for this task.
    """
    script = engine.registries.scripts.get(name)
    if task not in script.tasks:
        raise UserError(
            f"The script '{escape(script.name)}' cannot be used in {task}.", "Choose another one."
        )
    return script


def run_page_script(
    engine: Engine, name: str, request: GenerationRequest, args: Mapping[str, Any]
) -> JobGroup:
    """Run a script on the request of a form and return its group of jobs.

    Raises:
        WebUIError: the script cannot be chosen, or cannot run with these arguments.
    """
    script = find_page_script(engine, name, request.task)
    return engine.run_script(script.name, request, args, "page")
