from __future__ import annotations

import pytest
from pydantic import ValidationError

from modules.core.errors import UserError
from modules.params.param import params_of
from modules.params.settings import Settings


def test_every_option_is_declared():
    assert set(params_of(Settings)) == set(Settings.model_fields)


def test_replace_returns_new_settings_and_leaves_the_old_ones_unchanged():
    settings = Settings()
    changed = settings.replace(sd_model_checkpoint="a.safetensors")
    assert changed.sd_model_checkpoint == "a.safetensors"
    assert settings.sd_model_checkpoint == ""
    with pytest.raises(ValidationError):
        settings.sd_model_checkpoint = "b"  # pyright: ignore[reportAttributeAccessIssue]


def test_an_unknown_option_is_refused():
    with pytest.raises(UserError, match="There is no field 'colour'"):
        Settings().replace(colour="red")


def test_a_value_of_the_wrong_type_is_refused():
    with pytest.raises(UserError, match="Stable Diffusion checkpoint is 3"):
        Settings().replace(sd_model_checkpoint=3)
