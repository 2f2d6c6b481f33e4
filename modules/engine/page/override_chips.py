"""Override settings as chips: settings of a pasted infotext that the form has no component for.

A chip holds a setting whose current value differs, or the checkpoint or the VAE; a click removes it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from modules.core.errors import WebUIError
from modules.engine.engine import Engine
from modules.infotext.options import format_setting, parse_setting
from modules.params.settings import Settings

# Request fields that no form has a component for, by label.
_MODEL_FIELDS = {"Checkpoint": "sd_model_checkpoint", "SD VAE": "sd_vae"}


def format_overrides(
    engine: Engine, values: Mapping[str, Any], overrides: Mapping[str, Any]
) -> list[str]:
    """Return the chips for a request's override settings, and for its checkpoint and VAE where they differ.

    Args:
        engine: Source of the current checkpoint and VAE.
        values: Fields of a request; only checkpoint and VAE are used.
        overrides: The request's override settings.
    """
    current = {"sd_model_checkpoint": _checkpoint_name(engine), "sd_vae": engine.settings.sd_vae}
    models = [
        f"{label}: {values[name]}"
        for label, name in _MODEL_FIELDS.items()
        if values.get(name) and values[name] != current[name]
    ]
    settings_class = type(engine.settings)
    chips = [format_setting(name, value, settings_class) for name, value in overrides.items()]
    return [*models, *chips]


def parse_overrides(
    chips: Iterable[str], settings_class: type[Settings] = Settings
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the request fields and the override settings that the chips name.

    Args:
        chips: From `format_overrides`.
        settings_class: Declares the options.

    Raises:
        WebUIError: a chip names no setting, or an invalid value.
    """
    fields: dict[str, Any] = {}
    settings: dict[str, Any] = {}
    for chip in chips:
        label, _, text = chip.partition(":")
        if label in _MODEL_FIELDS:
            fields[_MODEL_FIELDS[label]] = text.strip()
        else:
            name, value = parse_setting(chip, settings_class)
            settings[name] = value
    return fields, settings


def _checkpoint_name(engine: Engine) -> str:
    try:
        return engine.find_checkpoint().name
    except WebUIError:
        return ""
