"""Lists of samplers, schedules, checkpoints, VAEs, face restorers, styles and upscalers."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from fastapi import APIRouter

from modules.api.json_check import CheckedRouter
from modules.api.sdapi.scripts import describe_scripts, list_scripts
from modules.core.text import escape
from modules.engine.engine import Engine
from modules.models.face_restorers import FACE_RESTORERS
from modules.models.kinds import VAE
from modules.models.upscaling.upscalers import Upscaler, UpscalerModel
from modules.sampling.samplers import Sampler


def listings_router(engine: Engine) -> APIRouter:
    """Return the routes that list, and those that refresh a list."""
    router = CheckedRouter(prefix="/sdapi/v1")

    @router.get("/extensions")
    def extensions() -> list[dict[str, Any]]:
        """List the extensions, and whether the next start loads each; what git knows of them is empty."""
        return [
            {
                "name": row.source.name,
                "remote": "",
                "branch": "",
                "commit_hash": "",
                "version": row.source.version,
                "commit_date": 0,
                "enabled": row.is_enabled,
            }
            for row in engine.extensions.rows()
        ]

    @router.get("/samplers")
    def samplers() -> list[dict[str, Any]]:
        """List the samplers with their other names and the options that affect them."""
        return [
            {
                "name": sampler.name,
                "aliases": list(sampler.aliases),
                "options": _sampler_options(sampler),
            }
            for sampler in engine.samplers
        ]

    @router.get("/schedulers")
    def schedulers() -> list[dict[str, Any]]:
        """List the schedule types."""
        return [
            {
                "name": schedule.api_name,
                "label": schedule.name,
                "aliases": [name for name in schedule.aliases if name != schedule.api_name] or None,
                "default_rho": -1.0 if schedule.default_rho is None else schedule.default_rho,
                "need_inner_model": schedule.uses_model_timesteps,
            }
            for schedule in engine.schedules
        ]

    @router.get("/sd-models")
    def sd_models() -> list[dict[str, Any]]:
        """List the checkpoints that can be used, with their hashes."""
        return [
            {
                "title": checkpoint.title,
                "model_name": checkpoint.model_name,
                "hash": checkpoint.short_hash or None,
                "sha256": checkpoint.sha256 or None,
                "filename": checkpoint.shown_path,
                "config": escape(str(checkpoint.config)) if checkpoint.config else None,
            }
            for checkpoint in engine.models.checkpoints()
            if not checkpoint.error
        ]

    @router.get("/sd-vae")
    def sd_vae() -> list[dict[str, Any]]:
        """List the VAE files."""
        return [
            {"model_name": vae.name, "filename": vae.shown_path} for vae in engine.models.files(VAE)
        ]

    @router.get("/face-restorers")
    def face_restorers() -> list[dict[str, Any]]:
        """List the face restorers, by name and whether their files are there or not, as A1111 does."""
        names = sorted(restorer.name for restorer in FACE_RESTORERS)
        return [{"name": name, "cmd_dir": None} for name in names]

    @router.get("/prompt-styles")
    def prompt_styles() -> list[dict[str, str]]:
        """List the saved styles."""
        return [asdict(style) for style in engine.styles.all()]

    @router.post("/refresh-vae")
    def refresh_vae() -> None:
        """Look for VAE files again."""
        engine.models.refresh(VAE)

    @router.post("/refresh-checkpoints")
    def refresh_checkpoints() -> None:
        """Look for checkpoints again."""
        engine.models.refresh()
        engine.models.start_hashing()

    _add_upscaler_routes(router, engine)
    _add_script_routes(router, engine)
    return router


def _sampler_options(sampler: Sampler) -> dict[str, str]:
    """Return A1111's options of a sampler, and the settings that affect it; all values are strings."""
    schedule, ensd_settings = sampler.default_schedule, {"eta_ancestral", "eta_noise_seed_delta"}
    options = {
        "scheduler": schedule.lower() if schedule != "Uniform" else "",
        "discard_next_to_last_sigma": "True" if sampler.discards_next_to_last_sigma else "",
        "brownian_noise": "True" if sampler.uses_brownian_noise else "",
        "uses_ensd": "True" if ensd_settings <= {*sampler.options} else "",
        "second_order": "True" if sampler.evaluations_per_step == 2 else "",
        "settings": ", ".join(sampler.options),
    }
    return {name: value for name, value in options.items() if value}


def _describe_upscaler(upscaler: Upscaler) -> dict[str, Any]:
    file = upscaler.method.file if isinstance(upscaler.method, UpscalerModel) else None
    return {
        "name": upscaler.name,
        "model_name": None if file is None else file.stem,
        "model_path": None if file is None else file.shown_path,
        "model_url": None,
        "scale": upscaler.scale,
    }


def _is_real_esrgan(upscaler: Upscaler) -> bool:
    return isinstance(upscaler.method, UpscalerModel) and upscaler.name.startswith("R-ESRGAN")


def _add_upscaler_routes(router: APIRouter, engine: Engine) -> None:
    @router.get("/upscalers")
    def upscalers() -> list[dict[str, Any]]:
        """List the upscalers of pixels."""
        return [_describe_upscaler(row) for row in engine.upscalers if not row.is_latent]

    @router.get("/realesrgan-models")
    def realesrgan_models() -> list[dict[str, Any]]:
        """List the upscalers of Real-ESRGAN."""
        rows = [_describe_upscaler(row) for row in engine.upscalers if _is_real_esrgan(row)]
        return [
            {"name": row["name"], "path": row["model_path"], "scale": row["scale"]} for row in rows
        ]

    @router.get("/latent-upscale-modes")
    def latent_upscale_modes() -> list[dict[str, Any]]:
        """List the upscalers of latents."""
        return [{"name": upscaler.name} for upscaler in engine.upscalers if upscaler.is_latent]


def _add_script_routes(router: APIRouter, engine: Engine) -> None:
    @router.get("/scripts")
    def scripts() -> dict[str, list[str]]:
        """List the names of the scripts of each task."""
        return list_scripts(engine)

    @router.get("/script-info")
    def script_info() -> list[dict[str, Any]]:
        """Describe the scripts and their arguments."""
        return describe_scripts(engine)
