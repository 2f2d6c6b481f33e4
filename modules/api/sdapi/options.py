"""The options, under A1111's names."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from fastapi.concurrency import run_in_threadpool

from modules.api.sdapi.models import wait_until_loaded
from modules.api.sdapi.request_schema import OptionsBody
from modules.core.errors import UserError, WebUIError
from modules.core.registry import did_you_mean
from modules.engine.engine import Engine
from modules.params.settings import Settings

CHECKPOINT = "sd_model_checkpoint"
CHECKPOINT_HASH = "sd_checkpoint_hash"  # told beside the options; clients send it back with them


def options_router(engine: Engine) -> APIRouter:
    """Return the routes that read and change the options."""
    router = APIRouter(prefix="/sdapi/v1")

    @router.get("/options")
    def options() -> dict[str, Any]:
        return {**engine.settings.model_dump(), **_checkpoint(engine)}

    @router.post("/options")
    async def set_options(body: OptionsBody) -> None:
        given = {key: value for key, value in body.root.items() if key != CHECKPOINT_HASH}
        for key in given:
            if key not in Settings.model_fields:
                raise UserError(
                    f"There is no option '{key}'.", did_you_mean(key, Settings.model_fields)
                )
        # A1111's clients send back null and "" for what was never chosen.
        chosen = {k: v for k, v in given.items() if v is not None and (v or k != CHECKPOINT)}
        if chosen:
            await run_in_threadpool(engine.change_settings, chosen)
        if CHECKPOINT in chosen:  # clients go on as if it were there
            await wait_until_loaded(engine)

    return router


def _checkpoint(engine: Engine) -> dict[str, str]:
    """Return the chosen checkpoint as clients find it among the models: by title and hash."""
    try:
        found = engine.find_checkpoint()
    except WebUIError:
        return {CHECKPOINT_HASH: ""}
    return {CHECKPOINT: found.title, CHECKPOINT_HASH: found.sha256}
