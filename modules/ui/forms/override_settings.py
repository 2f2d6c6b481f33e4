"""Chips: what a pasted infotext asks for beside the form's fields, each to be taken away by a click.

They stand for options whose value on this page is another, and for the checkpoint and the VAE.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import gradio as gr

from modules.core.errors import WebUIError
from modules.engine.engine import Engine
from modules.infotext.options import format_setting, parse_setting

OVERRIDE_SETTINGS = "chips"  # their name among a form's extras
# Fields of a request that no form has a component for.
_FILES = {"Checkpoint": "sd_model_checkpoint", "SD VAE": "sd_vae"}


def build_override_settings(prefix: str) -> gr.Dropdown:
    """Make the chips where the page stands; without any they take no room."""
    return gr.Dropdown(
        [],
        value=[],
        multiselect=True,
        allow_custom_value=True,
        label="Override settings",
        info="For this form's pictures alone; the settings stay as they are.",
        elem_id=f"{prefix}_{OVERRIDE_SETTINGS}",
        elem_classes=OVERRIDE_SETTINGS,
    )


def format_overrides(
    engine: Engine, values: Mapping[str, Any], overrides: Mapping[str, Any]
) -> list[str]:
    """Return the chips of what is wanted where it is not so already.

    Args:
        engine: Knows what is chosen.
        values: Fields of a request; checkpoint and VAE are looked at.
        overrides: Options of a request.
    """
    now = {"sd_model_checkpoint": _checkpoint(engine), "sd_vae": engine.settings.sd_vae}
    files = [
        f"{label}: {values[name]}"
        for label, name in _FILES.items()
        if values.get(name) and values[name] != now[name]
    ]
    return [*files, *(format_setting(name, value) for name, value in overrides.items())]


def parse_overrides(entries: Iterable[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the request's fields and the options that chips stand for.

    Raises:
        WebUIError: one stands for nothing, or for a value that is not valid.
    """
    fields: dict[str, Any] = {}
    options: dict[str, Any] = {}
    for chip in entries:
        label, _, value = chip.partition(":")
        if label in _FILES:
            fields[_FILES[label]] = value.strip()
        else:
            name, read = parse_setting(chip)
            options[name] = read
    return fields, options


def _checkpoint(engine: Engine) -> str:
    try:
        return engine.find_checkpoint().name
    except WebUIError:
        return ""
