"""Reads and changes the options, under A1111's names."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from fastapi.concurrency import run_in_threadpool

from modules.api.sdapi.models import wait_until_loaded
from modules.api.sdapi.request_schema import OptionsBody
from modules.core.errors import UserError, WebUIError
from modules.core.registry import did_you_mean
from modules.engine.engine import Engine

CHECKPOINT = "sd_model_checkpoint"
CHECKPOINT_HASH = "sd_checkpoint_hash"  # returned with the options; clients send it back with them


def options_router(engine: Engine) -> APIRouter:
    """Return the routes that read and change the options."""
    router = APIRouter(prefix="/sdapi/v1")

    @router.get("/options")
    def options() -> dict[str, Any]:
        return {**engine.settings.model_dump(), **_checkpoint(engine)}

    @router.post("/options")
    async def set_options(body: OptionsBody) -> None:
        fields = {key: value for key, value in body.root.items() if key != CHECKPOINT_HASH}
        known = type(engine.settings).model_fields
        for key in fields:
            if key not in known:
                raise UserError(f"There is no option '{key}'.", did_you_mean(key, known))
        # A1111's clients send back null and "" for options that were never set.
        changes = {k: v for k, v in fields.items() if v is not None and (v or k != CHECKPOINT)}
        if changes:
            await run_in_threadpool(engine.change_settings, changes)
        if CHECKPOINT in changes:  # clients assume that it is loaded
            await wait_until_loaded(engine)

    return router


def _checkpoint(engine: Engine) -> dict[str, str]:
    """Return title and hash of the active checkpoint, as clients find it in the list of models."""
    try:
        checkpoint = engine.find_checkpoint()
    except WebUIError:
        return {CHECKPOINT_HASH: ""}
    return {CHECKPOINT: checkpoint.title, CHECKPOINT_HASH: checkpoint.sha256}
