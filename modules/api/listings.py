"""What there is: samplers, schedules and checkpoints, and the choice among the latter."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body

from modules.core.errors import UserError
from modules.core.registry import did_you_mean
from modules.engine.engine import Engine
from modules.params.settings import Settings


def listings_router(engine: Engine) -> APIRouter:
    """Return the routes that list, and the options."""
    router = APIRouter(prefix="/sdapi/v1")

    @router.get("/samplers")
    def samplers() -> list[dict[str, Any]]:
        return [
            {
                "name": row.name,
                "aliases": list(row.aliases),
                "options": {"scheduler": row.automatic.lower()},
            }
            for row in engine.samplers
        ]

    @router.get("/schedulers")
    def schedulers() -> list[dict[str, Any]]:
        return [
            {"name": row.name.lower(), "label": row.name, "aliases": list(row.aliases)}
            for row in engine.schedules
        ]

    @router.get("/sd-models")
    def sd_models() -> list[dict[str, Any]]:
        return [
            {
                "title": found.title,
                "model_name": found.model_name,
                "hash": found.short_hash or None,
                "sha256": found.sha256 or None,
                "filename": str(found.path),
                "config": str(found.config) if found.config else None,
            }
            for found in engine.models.checkpoints()
            if not found.fault
        ]

    @router.post("/refresh-checkpoints")
    def refresh_checkpoints() -> None:
        engine.models.refresh()
        engine.models.start_hashing()

    @router.get("/options")
    def options() -> dict[str, Any]:
        return engine.settings.model_dump()

    @router.post("/options")
    def set_options(body: Annotated[dict[str, Any], Body()]) -> None:
        for key in body:
            if key not in Settings.model_fields:
                raise UserError(
                    f"There is no option '{key}'.", did_you_mean(key, Settings.model_fields)
                )
        if body.get(
            "sd_model_checkpoint"
        ):  # A1111's clients send back null for what was never chosen
            engine.select_checkpoint(str(body["sd_model_checkpoint"]))

    return router
