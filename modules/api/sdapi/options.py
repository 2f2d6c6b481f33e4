"""Reads and changes the options, under A1111's names."""

from __future__ import annotations

import difflib
import logging
from collections.abc import Collection, Iterable
from typing import Any

from fastapi import APIRouter
from fastapi.concurrency import run_in_threadpool

from modules.api.json_check import CheckedRouter
from modules.api.sdapi.models import wait_until_loaded
from modules.api.sdapi.requests.schema import OptionsBody
from modules.core.errors import UserError, WebUIError
from modules.core.registry import did_you_mean
from modules.engine.engine import Engine

logger = logging.getLogger(__name__)

CHECKPOINT = "sd_model_checkpoint"
CHECKPOINT_HASH = "sd_checkpoint_hash"  # returned with the options; clients send it back with them

# Similarity from which an unknown name is a misspelt option; none of A1111's or Forge's others is that close.
_NEAR_MISS = 0.83
_MAX_FOREIGN = 1000  # A1111 and Forge have about 400, and each is compared with every option


def options_router(engine: Engine) -> APIRouter:
    """Return the routes that read and change the options."""
    router = CheckedRouter(prefix="/sdapi/v1")

    @router.get("/options")
    def options() -> dict[str, Any]:
        """Return all options; a whole number has no fraction, which clients with integer types cannot read."""
        options = {**engine.settings.model_dump(), **_checkpoint(engine)}
        return {name: _without_fraction(value) for name, value in options.items()}

    @router.post("/options")
    async def set_options(body: OptionsBody) -> None:
        """Change options; those of A1111 and Forge that do not exist here are ignored, a misspelt one is refused."""
        known = type(engine.settings).model_fields
        foreign = body.root.keys() - known - {CHECKPOINT_HASH}
        await run_in_threadpool(_refuse_misspelt, foreign, known)
        if foreign:
            logger.info(
                "Options that do not exist here are ignored: %.300s.", ", ".join(sorted(foreign))
            )
        fields = {key: value for key, value in body.root.items() if key in known}
        # A1111's clients send back null and "" for options that were never set.
        changes = {k: v for k, v in fields.items() if v is not None and (v or k != CHECKPOINT)}
        if changes:
            await run_in_threadpool(engine.change_settings, changes)
        if CHECKPOINT in changes:  # clients assume that it is loaded
            await wait_until_loaded(engine)

    return router


def _refuse_misspelt(names: Collection[str], known: Iterable[str]) -> None:
    if len(names) > _MAX_FOREIGN:
        raise UserError(
            f"{len(names)} options do not exist here; at most {_MAX_FOREIGN} others are ignored."
        )
    folded = [name.casefold() for name in known]
    for name in sorted(names):
        if difflib.get_close_matches(name.casefold(), folded, n=1, cutoff=_NEAR_MISS):
            raise UserError(f"There is no option '{name}'.", did_you_mean(name, known))


def _without_fraction(value: Any) -> Any:  # Any: the value of an option
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _checkpoint(engine: Engine) -> dict[str, str]:
    """Return title and hash of the active checkpoint, as clients find it in the list of models."""
    try:
        checkpoint = engine.find_checkpoint()
    except WebUIError:
        return {CHECKPOINT_HASH: ""}
    return {CHECKPOINT: checkpoint.title, CHECKPOINT_HASH: checkpoint.sha256}
