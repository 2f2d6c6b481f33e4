from __future__ import annotations

from dataclasses import fields

import pytest
from pydantic import BaseModel

from modules.core.registry import Registry
from modules.engine.registries import Registries, Tab
from modules.params.param import param
from modules.params.settings import Settings
from modules.params.settings.sections import SettingsSection


class ToneSettings(BaseModel):
    """One option."""

    tone: int = param(2, "Tone", help="More is higher.", section="tones")


def test_rows_added_to_a_copy_are_not_in_the_original(registries: Registries):
    copy = registries.copy()
    copy.tabs.add(Tab("Tones", lambda engine: None))
    copy.settings_sections.add(SettingsSection("tones", "Tones", ToneSettings))
    assert "Tones" not in registries.tabs.names()
    assert "tones" not in registries.settings_sections.names()
    assert copy.settings_class().tone == 2  # type: ignore[attr-defined]


def test_a_copy_shares_the_errors_of_extensions(registries: Registries):
    registries.copy().extension_errors.append("It failed.")
    assert registries.extension_errors == ["It failed."]


def test_the_settings_class_is_made_once(registries: Registries):
    assert registries.settings_class is Settings
    extended = registries.copy()
    extended.settings_sections.add(SettingsSection("tones", "Tones", ToneSettings))
    assert extended.settings_class is extended.settings_class


@pytest.mark.parametrize("name", [field.name for field in fields(Registries)])
def test_the_built_in_rows_fill_every_table_but_those_of_the_page_scripts_and_extensions(
    registries: Registries, name: str
):
    table = getattr(registries, name)
    is_empty = name in ("tabs", "scripts", "step_extensions")
    assert not isinstance(table, Registry) or len(table) > 0 or is_empty
