"""The page answers before torch is imported, and importing a module does nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HEAVY = ("torch", "diffusers", "transformers", "accelerate", "cv2")
BUILD_PAGE = """
import json, os, sys, threading
from pathlib import Path
from modules import app
from modules.core.flags import Flags
flags = Flags(data_dir=Path(sys.argv[1]))
paths = app.make_paths(flags)
app.prepare_environment(paths)
app.make_app(app.make_engine(flags, paths), flags)
heavy = [name for name in %r if name in sys.modules]
print(json.dumps({"heavy": heavy}))
"""
IMPORT_ALL = """
import importlib, json, os, pkgutil, sys, threading
import modules
events, at_work = [], []
def hook(event, args):
    if at_work and event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+"):
        events.append(str(args[0]))
    if at_work and event in ("os.mkdir", "os.rename", "os.remove", "socket.connect", "subprocess.Popen"):
        events.append(f"{event} {args[:2]}")
names = [found.name for found in pkgutil.walk_packages(modules.__path__, "modules.")]
import gradio, uvicorn, fastapi, PIL.Image  # what libraries do is their affair
sys.addaudithook(hook)
before = dict(os.environ)
at_work.append(True)
for name in names:
    if name.startswith("modules.backend") or name == "modules.__main__":
        continue
    importlib.import_module(name)
at_work.clear()
print(json.dumps({
    "events": events,
    "threads": [thread.name for thread in threading.enumerate()],
    "environment": sorted(key for key in os.environ if os.environ[key] != before.get(key)),
    "heavy": [name for name in %r if name in sys.modules],
}))
"""


def fresh(code: str, root: Path, *args: str) -> dict[str, Any]:
    """Return what code prints as JSON in an interpreter of its own."""
    done = subprocess.run(
        [sys.executable, "-B", "-c", code % (HEAVY,), *args],
        cwd=root,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_the_page_is_built_without_torch(root: Path, tmp_path: Path):
    assert fresh(BUILD_PAGE, root, str(tmp_path))["heavy"] == []


@pytest.fixture(scope="module")
def imported(root: Path) -> dict[str, Any]:
    return fresh(IMPORT_ALL, root)


def test_importing_needs_no_torch(imported: dict[str, Any]):
    assert imported["heavy"] == []


def test_importing_starts_no_thread(imported: dict[str, Any]):
    assert imported["threads"] == ["MainThread"]


def test_importing_writes_no_file_and_calls_no_program(imported: dict[str, Any]):
    assert imported["events"] == []


def test_importing_leaves_the_environment_alone(imported: dict[str, Any]):
    assert imported["environment"] == []
