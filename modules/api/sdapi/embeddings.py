"""Routes for embeddings and hypernetworks, in A1111's shapes."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from modules.api.json_check import CheckedRouter
from modules.core.errors import WebUIError
from modules.core.text import escape
from modules.engine.engine import Engine
from modules.models.kinds import HYPERNETWORK
from modules.models.networks.embeddings import Embedding


def embeddings_router(engine: Engine) -> APIRouter:
    """Return the routes that list embeddings and hypernetworks, and those that read their folders again."""
    router = CheckedRouter(prefix="/sdapi/v1")
    listing = engine.planner.vocabulary.listing

    @router.get("/embeddings")
    def embeddings() -> dict[str, dict[str, Any]]:
        lists: dict[str, dict[str, Any]] = {"loaded": {}, "skipped": {}}
        for one in listing.all():
            lists["skipped" if _find_misfit(engine, one) else "loaded"][escape(one.name)] = {
                "step": one.step,
                "sd_checkpoint": one.checkpoint_hash,
                "sd_checkpoint_name": one.checkpoint_name,
                "shape": sum(one.widths),
                "vectors": one.vector_count,
            }
        return lists

    @router.post("/refresh-embeddings")
    def refresh_embeddings() -> None:
        listing.refresh()

    @router.get("/hypernetworks")
    def hypernetworks() -> list[dict[str, str]]:
        return [
            {"name": file.stem, "path": file.shown_path}
            for file in engine.models.files(HYPERNETWORK)
        ]

    return router


def _find_misfit(engine: Engine, embedding: Embedding) -> str:
    """Return why the active checkpoint cannot use an embedding, "" if it can."""
    try:
        checkpoint = engine.find_checkpoint()
    except WebUIError:  # without a checkpoint nothing is known to misfit
        return embedding.error
    return embedding.find_misfit(checkpoint)
