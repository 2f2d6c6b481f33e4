"""GET /controlnet/…: versions and lists, compatible with sd-webui-controlnet's clients."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from modules.api.json_check import CheckedRouter
from modules.engine.engine import Engine
from modules.images.preprocessors.row import Preprocessor, Slider
from modules.images.preprocessors.table import list_preprocessors
from modules.params.requests.control_unit import NO_MODEL
from modules.plan.units.control_types import list_control_types

API_VERSION = 3  # of sd-webui-controlnet's, whose fields these routes and units have


def controlnet_router(engine: Engine) -> APIRouter:
    """Return the routes that list what units can use."""
    router = CheckedRouter(prefix="/controlnet", tags=["ControlNet"])
    control = engine.models.control

    @router.get("/version")
    def version() -> dict[str, int]:
        """Return the version of sd-webui-controlnet's API that is spoken here."""
        return {"version": API_VERSION}

    @router.get("/model_list")
    def model_list(update: bool = True) -> dict[str, list[str]]:
        """List the control models by name and hash; the folders are read again unless `update` is false."""
        if update:
            control.refresh()
        return {"model_list": [NO_MODEL, *(model.title for model in control.models())]}

    @router.get("/module_list")
    def module_list(alias_names: bool = False) -> dict[str, Any]:
        """List the preprocessors with the sliders that each has; with `alias_names` by the names of the page."""
        rows = {
            row.name if alias_names else row.api_name: row
            for row in list_preprocessors()
            if not row.unavailable
        }
        details = {
            name: {"model_free": not row.needs_model, "sliders": _sliders(row)}
            for name, row in rows.items()
        }
        return {"module_list": list(rows), "module_detail": details}

    @router.get("/control_types")
    def control_types() -> dict[str, Any]:
        """List the control types with their preprocessors and control models."""
        return {
            "control_types": {
                row.name: {
                    "module_list": [module.name for module in row.modules],
                    "model_list": [NO_MODEL, *(model.title for model in row.models)],
                    "default_option": row.default_module.name,
                    "default_model": row.default_model.title if row.default_model else NO_MODEL,
                }
                for row in list_control_types(control.models())
            }
        }

    @router.get("/settings")
    def settings() -> dict[str, int]:
        """Return how many units the page has."""
        return {"control_net_unit_count": engine.settings.control_net_unit_count}

    return router


def _sliders(row: Preprocessor) -> list[dict[str, Any]]:
    return [_slider(slider) for slider in (row.resolution, row.a, row.b) if slider is not None]


def _slider(slider: Slider) -> dict[str, Any]:
    return {
        "name": slider.label,
        "value": slider.value,
        "min": slider.minimum,
        "max": slider.maximum,
        "step": slider.step,
    }
