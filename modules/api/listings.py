"""What there is: samplers, schedules, checkpoints and VAEs."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from modules.engine.engine import Engine


def listings_router(engine: Engine) -> APIRouter:
    """Return the routes that list."""
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

    @router.get("/sd-vae")
    def sd_vae() -> list[dict[str, Any]]:
        return [
            {"model_name": found.name, "filename": str(found.path)}
            for found in engine.models.vaes.files()
        ]

    @router.post("/refresh-vae")
    def refresh_vae() -> None:
        engine.models.vaes.refresh()

    @router.post("/refresh-checkpoints")
    def refresh_checkpoints() -> None:
        engine.models.refresh()
        engine.models.start_hashing()

    return router
