"""Routes of the Settings tab: read, change and reset options, as their params declare them."""

from __future__ import annotations

from typing import Any, Literal, get_args, get_origin

from fastapi import APIRouter
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from modules.core.flag_types import MEMORY_POLICIES
from modules.core.flags import SETTING_FLAGS
from modules.core.text import escape
from modules.engine.engine import Engine
from modules.params.param import Param, params_of

# Options of the checkpoint bar above the tabs; the Settings tab leaves them out.
_CHECKPOINT_BAR_OPTIONS = frozenset(
    ("sd_model_checkpoint", "sd_vae", "sd_predictions", "CLIP_stop_at_last_layers")
)


class Reset(BaseModel):
    """Names of the options to reset."""

    names: list[str] | None = None  # None resets all


class Changes(BaseModel):
    """New values of options, by name."""

    changes: dict[str, Any]  # checked against each option's param


def settings_router(engine: Engine) -> APIRouter:
    """Return the routes of the tab; each answers with the current values of all options."""
    router = APIRouter(prefix="/internal/settings", include_in_schema=False)
    rows = engine.registries.settings_sections

    @router.get("")
    def current() -> dict[str, Any]:
        """Return every option by section, those that flags override, and a warning about the settings file."""
        params = params_of(type(engine.settings))
        sections: dict[str, list[dict[str, Any]]] = {row.name: [] for row in rows}
        for name, param in params.items():
            if name not in _CHECKPOINT_BAR_OPTIONS:
                sections[param.section].append(_option(engine, name, param))
        return {
            "remark": engine.settings_warning,
            "file": escape(str(engine.settings_path)),
            "flags": [
                {"flag": _flag(name), "label": params[name].label, "value": value}
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
        all_names = [
            name for name in settings_class.model_fields if name not in _CHECKPOINT_BAR_OPTIONS
        ]
        names = all_names if body.names is None else body.names
        engine.change_settings(settings_class.default_values(names))
        return current()

    return router


def _option(engine: Engine, name: str, param: Param) -> dict[str, Any]:
    field = type(engine.settings).model_fields[name]
    kind, choices = _kind(engine, param, field)
    return {
        "name": name,
        "label": param.label,
        "help": param.help,
        "kind": kind,
        "choices": choices,
        "min": param.ge,
        "max": param.le,
        "value": getattr(engine.settings, name),
        "default": field.default,
        "flag": _flag(name, engine.flag_settings[name]) if name in engine.flag_settings else "",
    }


def _kind(engine: Engine, param: Param, field: FieldInfo) -> tuple[str, list[str]]:
    if get_origin(field.annotation) is Literal:
        return "choice", [str(choice) for choice in get_args(field.annotation)]
    if param.choices is not None:
        return "choice", engine.choices(param.choices)
    default: object = field.default
    if isinstance(default, bool):
        return "switch", []
    if isinstance(default, int):
        return "integer", []
    return "number" if isinstance(default, float) else "text", []


def _flag(name: str, value: object) -> str:
    """Return the flag that has given an option its value."""
    policies = {policy: flag for flag, policy in MEMORY_POLICIES.items()}
    flag = policies.get(str(value), name) if name == "memory_policy" else name
    return "--" + SETTING_FLAGS.get(flag, flag).replace("_", "-")
