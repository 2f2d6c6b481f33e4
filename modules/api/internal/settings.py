"""Routes of the Settings tab: read, change and reset options, as their params declare them."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel

from modules.api.json_check import CheckedRouter
from modules.core.flag_types import OPTION_FLAGS
from modules.core.flags import SETTING_FLAGS
from modules.core.text import escape
from modules.engine.engine import Engine
from modules.params.field_schema import field_schema
from modules.params.param import Param, params_of

# What the bar above the tabs always has; the Settings tab leaves it out.
_BAR_OPTIONS = frozenset(("sd_model_checkpoint", "sd_predictions"))


class Reset(BaseModel):
    """Names of the options to reset."""

    names: list[str] | None = None  # None resets all


class Changes(BaseModel):
    """New values of options, by name."""

    changes: dict[str, Any]  # checked against each option's param


def settings_router(engine: Engine) -> APIRouter:
    """Return the routes of the tab; each answers with the current values of all options."""
    router = CheckedRouter(prefix="/internal/settings", include_in_schema=False)
    rows = engine.registries.settings_sections

    @router.get("")
    def current() -> dict[str, Any]:
        """Return every option by section, those that flags override, and a warning about the settings file."""
        params = params_of(type(engine.settings))
        sections: dict[str, list[dict[str, Any]]] = {row.name: [] for row in rows}
        for name, param in params.items():
            if name not in _BAR_OPTIONS:
                sections[param.section].append(option_json(engine, name, param))
        return {
            "remark": engine.settings_warning,
            "file": escape(str(engine.settings_path)),
            "flags": [
                {"flag": _flag(name, value), "label": params[name].label, "value": value}
                for name, value in engine.flag_settings.items()
            ],
            "sections": [
                {"name": row.name, "title": row.title, "options": sections[row.name]}
                for row in rows
                if sections[row.name]
            ],
        }

    @router.post("")
    def change(body: Changes) -> dict[str, Any]:
        """Change and save options; all or none."""
        engine.change_settings(body.changes)
        return current()

    @router.post("/reset")
    def reset(body: Reset) -> dict[str, Any]:
        """Reset options to their defaults."""
        settings_class = type(engine.settings)
        all_names = [name for name in settings_class.model_fields if name not in _BAR_OPTIONS]
        names = all_names if body.names is None else body.names
        engine.change_settings(settings_class.default_values(names))
        return current()

    return router


def option_json(engine: Engine, name: str, param: Param) -> dict[str, Any]:
    """Return an option as the page's controls are declared, with its `name`, `value`, and the `flag` that sets it."""
    field = type(engine.settings).model_fields[name]
    schema = field_schema(param, field)
    if param.choices is not None:
        schema["choices"] = [(choice, choice) for choice in engine.choices(param.choices)]
    return {
        **schema,
        "name": name,
        "value": getattr(engine.settings, name),
        "flag": _flag(name, engine.flag_settings[name]) if name in engine.flag_settings else "",
    }


def _flag(name: str, value: object) -> str:
    """Return the flag that sets the value of an option."""
    flags = {choice: flag for flag, choice in OPTION_FLAGS.get(name, {}).items()}
    flag = flags.get(str(value), name)
    return "--" + SETTING_FLAGS.get(flag, flag).replace("_", "-")
