"""The house is tested with its page."""

from __future__ import annotations

import pytest

from modules.engine.registries import Registries
from tests.conftest import builtin_registries


@pytest.fixture
def registries() -> Registries:
    """The engine's tables, tabs included."""
    return builtin_registries(serves_page=True)
