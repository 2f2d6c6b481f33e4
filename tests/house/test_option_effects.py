"""Every option of the infotext says when it has an effect."""

from __future__ import annotations

from modules.params.param import params_of
from modules.params.settings import Settings
from modules.plan.effects import ALWAYS_EFFECTIVE, list_effects

ROWS = {effect.option for effect in list_effects()}


def test_an_option_of_the_infotext_has_a_row_or_is_always_effective():
    written = {name for name, param in params_of(Settings).items() if param.infotext}
    assert written == ROWS | ALWAYS_EFFECTIVE


def test_an_option_with_a_row_is_not_declared_as_always_effective():
    assert not ROWS & ALWAYS_EFFECTIVE
