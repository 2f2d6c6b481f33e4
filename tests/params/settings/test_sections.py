from __future__ import annotations

import pytest
from pydantic import BaseModel, ValidationError

from modules.core.errors import UserError
from modules.params.param import param, params_of
from modules.params.settings import Settings
from modules.params.settings.sections import SECTIONS, SettingsSection, make_settings_class


class Tones(BaseModel):
    """Two options."""

    tone: int = param(2, "Tone", help="More is higher.", section="tones", ge=0, le=9)
    hall: str = param("", "Hall", help="Where it sounds.", section="sampling")


class Colours(BaseModel):
    """One more."""

    hue: float = param(0.5, "Hue", help="More is redder.", section="tones")


TONES, COLOURS = SettingsSection("tones", "Tones", Tones), SettingsSection("hues", "Hues", Colours)


def test_without_further_options_the_class_is_the_built_in_one():
    assert make_settings_class(SECTIONS) is Settings


def test_options_of_sections_follow_the_built_in_ones_in_order():
    extended = make_settings_class([*SECTIONS, TONES, COLOURS])
    assert list(params_of(extended)) == [*params_of(Settings), "tone", "hall", "hue"]
    assert isinstance(extended(), Settings)


def test_the_options_are_validated_frozen_and_replaced_as_all_others():
    settings = make_settings_class([*SECTIONS, TONES])().replace(tone=3, n_rows=2)
    assert settings.model_dump(exclude_defaults=True) == {"n_rows": 2, "tone": 3}
    with pytest.raises(UserError, match="Tone is 12; the largest valid value is 9"):
        settings.replace(tone=12)
    with pytest.raises(UserError, match="There is no field 'hue'"):
        settings.replace(hue=1.0)
    with pytest.raises(ValidationError):
        settings.tone = 4  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["n_rows", "replace", "tone"])
def test_a_taken_name_is_refused(name: str):
    options = type("Options", (BaseModel,), {"__annotations__": {name: int}, name: 3})
    with pytest.raises(ValueError, match=f"The option name '{name}' is taken."):
        make_settings_class([*SECTIONS, TONES, SettingsSection("more", "More", options)])


def test_a_default_that_is_not_valid_is_refused():
    class Wrong(BaseModel):
        wrong: int = param("much", "Wrong", help="Any.", section="sampling")

    with pytest.raises(UserError, match="Wrong is 'much'; a number is needed"):
        make_settings_class([*SECTIONS, SettingsSection("wrong", "Wrong", Wrong)])
