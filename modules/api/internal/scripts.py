"""Routes of scripts: what an axis of a plot offers, how long a script takes, and the cells of a running one."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from modules.api.json_check import CheckedRouter
from modules.core.errors import NotFound, WebUIError
from modules.engine.engine import Engine
from modules.engine.jobs.group_record import CellSummary
from modules.engine.page.scripts.estimate import estimate_script
from modules.engine.page.scripts.plot_axes import list_axes

_NOT_BEGUN = CellSummary("queued", 0, 0)


class ScriptForm(BaseModel):
    """A form of the page, with the script that is chosen in it."""

    task: str = Field(max_length=200)
    values: dict[str, Any]  # checked as the request declares them
    script_name: str = Field(max_length=200)
    script_args: dict[str, Any] = {}  # checked as the script declares them


def scripts_router(engine: Engine) -> APIRouter:
    """Return the routes of scripts, below /internal."""
    router = CheckedRouter(prefix="/internal", include_in_schema=False)

    @router.get("/scripts/axes")
    def axes(task: str) -> list[dict[str, Any]]:
        """Return the axes of an X/Y/Z plot."""
        return list_axes(engine, task)

    @router.post("/scripts/estimate")
    def estimate(body: ScriptForm) -> dict[str, Any]:
        """Return how many pictures a script makes and how long it takes; a `problem` as a sentence if it would not start."""
        try:
            return estimate_script(
                engine, body.task, body.values, body.script_name, body.script_args
            )
        except WebUIError as error:  # an answer to a question, not a refusal
            return {"problem": str(error)}

    @router.get("/jobs/{job_id}/cells")
    def cells(job_id: str) -> dict[str, Any]:
        """Return the table of a script's cells: labels, and each cell's place, state and images."""
        table = engine.groups.table(job_id)
        if table is None:
            raise NotFound("This job has no table.")
        begun = engine.groups.cells(job_id)
        waiting = [_NOT_BEGUN] * (len(table.places) - len(begun))
        return {
            "columns": table.columns,
            "rows": table.rows,
            "tables": table.tables,
            "cells": [
                {"place": place, **asdict(cell)}
                for place, cell in zip(table.places, [*begun, *waiting], strict=False)
            ],
        }

    return router
