"""Sections of the Settings tab, and the settings class with the options that extensions add."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from types import new_class

from pydantic import BaseModel

from modules.core.registry import Registry
from modules.params.param import params_of, validate
from modules.params.settings import Settings


@dataclass(frozen=True)
class SettingsSection:
    """One row of SECTIONS.

    Args:
        name: The `section` of the options that it shows.
        title: Its title in the Settings tab.
        options: Declares further options, each with `param()`; None for a built-in section, whose options are declared
            in Settings.
    """

    name: str
    title: str
    options: type[BaseModel] | None = None


# In the order of the Settings tab.
SECTIONS: Registry[SettingsSection] = Registry(
    "settings section",
    [
        SettingsSection("saving", "Saving images"),
        SettingsSection("grids", "Saving grids"),
        SettingsSection("model", "Models"),
        SettingsSection("prompt", "Prompts"),
        SettingsSection("networks", "Extra networks"),
        SettingsSection("sdxl", "Stable Diffusion XL"),
        SettingsSection("guidance", "Guidance"),
        SettingsSection("sampling", "Sampling"),
        SettingsSection("speed", "Optimizations"),
        SettingsSection("img2img", "img2img and inpainting"),
        SettingsSection("control", "ControlNet"),
        SettingsSection("upscaling", "Upscaling"),
        SettingsSection("hires", "Hires. fix"),
        SettingsSection("infotext", "Infotext"),
        SettingsSection("queue", "Queue"),
        SettingsSection("previews", "Live previews"),
        SettingsSection("page", "Page"),
        SettingsSection("api", "HTTP API"),
    ],
)


def make_settings_class(sections: Iterable[SettingsSection]) -> type[Settings]:
    """Return Settings with the options of all sections; Settings itself if they add none.

    Raises:
        ValueError: an option's name is taken, it is not declared with `param()`, or its section does not exist.
        UserError: a default is not valid.
    """
    rows = list(sections)
    section_names = {row.name for row in rows}
    known = {*dir(Settings), *Settings.model_fields}
    bases: list[type[BaseModel]] = []
    for row in rows:
        if row.options is None:
            continue
        params = params_of(row.options)
        for name in row.options.model_fields:
            if name in known:
                raise ValueError(f"The option name '{name}' is taken.")
            if name not in params:
                raise ValueError(f"The option '{name}' is not declared with param().")
            if params[name].section not in section_names:
                raise ValueError(
                    f"The option '{name}' is in the section '{params[name].section}', which does not exist."
                )
            known.add(name)
        bases.append(row.options)
    if not bases:
        return Settings
    # Pydantic orders fields from the last base to the first, and takes the configuration of the first.
    namespace = {
        "__module__": Settings.__module__,
        "__doc__": Settings.__doc__,
        "model_config": Settings.model_config,
    }
    classes = (*reversed(bases), Settings)
    extended: type[Settings] = new_class(
        "Settings", classes, exec_body=lambda body: body.update(namespace)
    )
    validate(extended, dict(extended()))
    return extended
