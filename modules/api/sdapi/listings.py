"""What there is: samplers, schedules, checkpoints, VAEs and styles; and empty lists of what there is not yet."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from fastapi import APIRouter

from modules.engine.engine import Engine
from modules.sampling.samplers import Sampler

# What A1111 lists and this version does not have; clients expect a list all the same.
_NONE_YET: Mapping[str, Any] = {
    "/hypernetworks": [],
    "/face-restorers": [],
    "/realesrgan-models": [],
    "/embeddings": {"loaded": {}, "skipped": {}},
    "/loras": [],
    "/scripts": {"txt2img": [], "img2img": []},
    "/script-info": [],
    "/extensions": [],
}


def listings_router(engine: Engine) -> APIRouter:
    """Return the routes that list."""
    router = APIRouter(prefix="/sdapi/v1")

    @router.get("/samplers")
    def samplers() -> list[dict[str, Any]]:
        return [
            {
                "name": row.name,
                "aliases": list(row.aliases),
                "options": _a1111s_options(row),
            }
            for row in engine.samplers
        ]

    @router.get("/schedulers")
    def schedulers() -> list[dict[str, Any]]:
        return [
            {
                "name": row.api_name,
                "label": row.name,
                "aliases": [alias for alias in row.aliases if alias != row.api_name] or None,
                "default_rho": -1.0 if row.default_rho is None else row.default_rho,
                "need_inner_model": row.uses_model_timesteps,
            }
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
            if not found.error
        ]

    @router.get("/sd-vae")
    def sd_vae() -> list[dict[str, Any]]:
        return [
            {"model_name": found.name, "filename": str(found.path)}
            for found in engine.models.vaes.files()
        ]

    for path, empty in _NONE_YET.items():
        router.add_api_route(path, _answering(empty), methods=["GET"], name=path[1:])

    @router.post("/refresh-embeddings")
    @router.post("/refresh-loras")
    def nothing_to_refresh() -> None:
        pass

    @router.get("/prompt-styles")
    def prompt_styles() -> list[dict[str, str]]:
        return [asdict(style) for style in engine.styles.all()]

    @router.post("/refresh-vae")
    def refresh_vae() -> None:
        engine.models.vaes.refresh()

    @router.post("/refresh-checkpoints")
    def refresh_checkpoints() -> None:
        engine.models.refresh()
        engine.models.start_hashing()

    return router


def _a1111s_options(row: Sampler) -> dict[str, str]:
    """Return what A1111 tells of a sampler, in its words, and which settings it listens to; all values are strings."""
    told = {
        "scheduler": row.default_schedule.lower() if row.default_schedule != "Uniform" else "",
        "discard_next_to_last_sigma": "True" if row.discards_next_to_last_sigma else "",
        "brownian_noise": "True" if row.uses_brownian_noise else "",
        "uses_ensd": "True" if {"eta_ancestral", "eta_noise_seed_delta"} <= {*row.options} else "",
        "second_order": "True" if row.evaluations_per_step == 2 else "",
        "settings": ", ".join(row.options),
    }
    return {name: value for name, value in told.items() if value}


def _answering(empty: Any) -> Callable[[], Any]:
    def answer() -> Any:  # a list or an object
        return empty

    return answer


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
