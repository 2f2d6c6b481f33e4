"""Routes of the bar above the tabs: the model, and the options next to it."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel, Field

from modules.api.internal.settings import option_json
from modules.api.json_check import CheckedRouter
from modules.engine.engine import Engine
from modules.engine.page.model_bar import change_model, model_state
from modules.params.param import params_of


class ModelChange(BaseModel):
    """One change in the bar; see `change_model`."""

    action: str = Field(max_length=100)
    value: str = Field("", max_length=4000)


class OptionChange(BaseModel):
    """A new value of an option in the bar."""

    name: str = Field(max_length=200)
    value: Any  # checked against the option's param


def model_bar_router(engine: Engine) -> APIRouter:
    """Return the routes of the bar, below /internal."""
    router = CheckedRouter(prefix="/internal", include_in_schema=False)

    @router.get("/model")
    def current() -> dict[str, Any]:
        return {**model_state(engine), "options": _options(engine)}

    @router.post("/model")
    def change(body: ModelChange) -> dict[str, Any]:
        message = change_model(engine, body.action, body.value)
        return {**current(), "words": message}

    @router.post("/model/option")
    def change_option(body: OptionChange) -> dict[str, Any]:
        engine.change_settings({body.name: body.value})
        return current()

    return router


def _options(engine: Engine) -> list[dict[str, Any]]:
    """Return the options that the setting `quicksettings_list` puts into the bar, the checkpoint's own apart."""
    params = params_of(type(engine.settings))
    names = engine.settings.quicksettings_list
    return [
        option_json(engine, name, params[name])
        for name in names
        if name in params and name != "sd_model_checkpoint"
    ]
