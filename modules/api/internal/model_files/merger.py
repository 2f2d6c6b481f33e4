"""Routes of the Checkpoint merger tab; the merge itself is a job."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from modules.api.json_check import CheckedRouter
from modules.engine.engine import Engine
from modules.engine.page.merge import preview_merge, read_metadata
from modules.models.merging.recipes import Recipe
from modules.params.param import validate
from modules.params.requests.merge import MergeRequest


class MergeValues(BaseModel):
    """The form of the tab."""

    values: dict[str, Any]  # checked as the request declares them


class CheckpointNames(BaseModel):
    """Checkpoints by name."""

    names: list[str] = Field(max_length=3)


def _describe(recipe: Recipe) -> dict[str, Any]:
    """Return what the form needs to know of a recipe."""
    return {
        "summary": recipe.summary,
        "model_count": recipe.model_count,
        "has_multiplier": recipe.has_multiplier,
        "multiplier_label": recipe.multiplier_label,
        "has_loras": recipe.has_loras,
    }


def merger_router(engine: Engine) -> APIRouter:
    """Return the routes of the tab, below /internal."""
    router = CheckedRouter(prefix="/internal/merger", include_in_schema=False)

    @router.get("")
    def offered() -> dict[str, Any]:
        """Return the recipes with what each needs, and the checkpoints with their families."""
        usable = (one for one in engine.models.checkpoints() if not one.error)
        return {
            "recipes": {row.name: _describe(row) for row in engine.registries.recipes},
            "checkpoints": [(f"{one.name} · {one.family}", one.name) for one in usable],
            "loras": engine.choices("loras")[1:],
            "vaes": engine.choices("merge vaes"),
        }

    @router.post("")
    def submit(body: MergeValues) -> dict[str, Any]:
        """Queue a merge."""
        return {"id": engine.submit(validate(MergeRequest, body.values), "page").id}

    @router.post("/preview")
    def preview(body: MergeValues) -> dict[str, Any]:
        return asdict(preview_merge(engine, body.values))

    @router.post("/metadata")
    def metadata(body: CheckpointNames) -> dict[str, str]:
        return {"metadata": read_metadata(engine, body.names)}

    return router
