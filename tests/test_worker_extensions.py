"""A worker loads the server's extensions, so that what they add to a plan can be sent to it."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

from modules import builtin
from modules.core.paths import Paths
from modules.engine.extensions.sources import find_extensions
from modules.engine.registries import Registries
from modules.extensions.loader import load_extensions
from tests.conftest import ROOT

EXTENSION = """
from modules.sampling.schedules import Schedule


def flat(*args, **kwargs):
    return "made by the extension"


def register(webui):
    global row
    row = flat
"""
WORKER = """
import pickle, sys
from modules.app import load_worker_extensions
paths, disabled, function = pickle.load(sys.stdin.buffer)
load_worker_extensions(paths, disabled)
print(pickle.loads(function)())
"""


def test_a_function_of_an_extension_reaches_a_worker(tmp_path: Path):
    for name in ("first", "second"):
        folder = tmp_path / "extensions" / name
        folder.mkdir(parents=True)
        (folder / "__init__.py").write_text(EXTENSION)
    paths = Paths(ROOT, tmp_path)
    registries = Registries(serves_page=False)
    builtin.register(registries)
    loaded = load_extensions(registries, find_extensions(paths), {"first": "Disabled."})
    assert [record.state for record in loaded.extensions] == ["disabled", "loaded"]
    function = sys.modules["_webui_extension_1_second"].flat
    sent = pickle.dumps((paths, {"first": ""}, pickle.dumps(function)))
    done = subprocess.run(
        [sys.executable, "-c", WORKER], input=sent, capture_output=True, cwd=ROOT, check=True
    )
    assert done.stdout.decode().strip() == "made by the extension"
