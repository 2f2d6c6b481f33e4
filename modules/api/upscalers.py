"""The upscalers, as A1111 lists them: those of pixels, and the ways to resize latents."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from modules.engine.engine import Engine

# What A1111 says of an upscaler that takes any scale.
_USUAL_SCALE = 4


def upscalers_router(engine: Engine) -> APIRouter:
    """Return the routes that list upscalers."""
    router = APIRouter(prefix="/sdapi/v1")

    @router.get("/upscalers")
    def upscalers() -> list[dict[str, Any]]:
        rows = [row for row in engine.upscalers if not row.is_latent]
        nothing = {"model_name": None, "model_path": None, "model_url": None}
        return [{"name": row.name, **nothing, "scale": _USUAL_SCALE} for row in rows]

    @router.get("/latent-upscale-modes")
    def latent_upscale_modes() -> list[dict[str, Any]]:
        return [{"name": row.name} for row in engine.upscalers if row.is_latent]

    return router
