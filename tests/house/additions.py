"""Adds rows and options for one test, to every module that has imported the table or the class."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from modules.params.settings import Settings


def replace_everywhere(monkeypatch: pytest.MonkeyPatch, old: object, new: object) -> None:
    """Replace a table or a class in every module that has it, as a changed file would at the next start."""
    for module in [value for name, value in sys.modules.items() if name.startswith("modules.")]:
        for name in [name for name, value in vars(module).items() if value is old]:
            monkeypatch.setattr(module, name, new)


def add_rows(monkeypatch: pytest.MonkeyPatch, table: tuple[Any, ...], *rows: object) -> None:
    """Add rows at the beginning of a table, where they take precedence."""
    replace_everywhere(monkeypatch, table, (*rows, *table))


def replace_settings(monkeypatch: pytest.MonkeyPatch, settings: type[Settings]) -> None:
    """Let every module use this class of settings, and its defaults."""
    loaded = [value for name, value in sys.modules.items() if name.startswith("modules.")]
    defaults = {
        id(value): value
        for module in loaded
        for value in vars(module).values()
        if type(value) is Settings
    }
    for default in defaults.values():
        replace_everywhere(monkeypatch, default, settings())
    replace_everywhere(monkeypatch, Settings, settings)
