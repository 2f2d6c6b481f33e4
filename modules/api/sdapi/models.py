"""Unloading and reloading the checkpoint, compatible with A1111's clients."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter
from fastapi.concurrency import run_in_threadpool

from modules.api.json_check import CheckedRouter
from modules.core.errors import BadFile
from modules.engine.engine import Engine

_POLL_S = 0.05


def models_router(engine: Engine) -> APIRouter:
    """Return the routes that unload and reload; each responds when it is done."""
    router = CheckedRouter(prefix="/sdapi/v1")

    @router.post("/unload-checkpoint")
    async def unload() -> dict[str, Any]:
        """Remove the checkpoint from memory; the next job loads it again."""
        await asyncio.wrap_future(engine.unload())
        return {}

    @router.post("/reload-checkpoint")
    async def reload() -> dict[str, Any]:
        """Load the checkpoint again; the response is sent when it is loaded."""
        await run_in_threadpool(engine.reload)
        await wait_until_loaded(engine)
        return {}

    return router


async def wait_until_loaded(engine: Engine) -> None:
    """Wait until the checkpoint that was requested last is loaded.

    Raises:
        BadFile: it could not be loaded.
    """
    while engine.device_status.phase == "loading":
        await asyncio.sleep(_POLL_S)
    if engine.device_status.phase == "failed":
        raise BadFile(engine.device_status.text)
