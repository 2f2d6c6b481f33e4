"""The options, under A1111's names."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from fastapi.concurrency import run_in_threadpool

from modules.api.body import OptionsBody
from modules.api.models import until_loaded
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
    async def set_options(body: OptionsBody) -> None:
        for key in body.root:
            if key not in Settings.model_fields:
                raise UserError(
                    f"There is no option '{key}'.", did_you_mean(key, Settings.model_fields)
                )
        # A1111's clients send back null and "" for what was never chosen.
        chosen = {k: v for k, v in body.root.items() if v is not None and (v or k != CHECKPOINT)}
        if chosen:
            await run_in_threadpool(engine.change_settings, chosen)
        if CHECKPOINT in chosen:  # clients go on as if it were there
            await until_loaded(engine)

    return router
