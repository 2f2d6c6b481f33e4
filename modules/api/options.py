"""The options, under A1111's names."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body

from modules.core.errors import UserError
from modules.core.registry import did_you_mean
from modules.engine.engine import Engine
from modules.params.settings import Settings

CHECKPOINT = "sd_model_checkpoint"


def options_router(engine: Engine) -> APIRouter:
    """Return the routes that read and change the options."""
    router = APIRouter(prefix="/sdapi/v1")

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
        # A1111's clients send back null and "" for what was never chosen.
        chosen = {k: v for k, v in body.items() if v is not None and (v or k != CHECKPOINT)}
        if chosen:
            engine.change_settings(chosen)

    return router
