"""What is built in is registered as an extension's rows are."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from modules import builtin
from modules.engine.registries import Registries
from modules.sampling.samplers import SAMPLERS

WITHOUT_PAGE = """
import json, sys
from modules import builtin
from modules.engine.registries import Registries
registries = Registries(serves_page=False)
builtin.register(registries)
print(json.dumps(["gradio" in sys.modules, registries.tabs.names()]))
"""


def test_the_rows_are_those_of_the_tables():
    registries = Registries()
    builtin.register(registries)
    assert list(registries.samplers) == list(SAMPLERS)
    assert registries.dialects.names()[-1] == "A1111"
    assert registries.tabs.names()[0] == "txt2img"
    assert registries.routers.names()[0] == "generation"


def test_without_a_page_there_are_no_tabs_and_gradio_is_not_imported(root: Path):
    command = [sys.executable, "-B", "-c", WITHOUT_PAGE]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [False, []]


def test_registering_twice_is_refused():
    registries = Registries(serves_page=False)
    builtin.register(registries)
    with pytest.raises(ValueError, match=r"name '.*' is taken"):
        builtin.register(registries)
