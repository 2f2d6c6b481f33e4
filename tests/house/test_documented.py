"""What the documents promise is there, and what is there is documented."""

from __future__ import annotations

import ast
import re
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from modules.core.a1111_flags import IGNORED_FLAGS
from modules.core.command_line import parse_flags
from modules.core.flags import Flags
from modules.params.param import params_of
from modules.params.requests.extras import ExtrasRequest
from modules.params.requests.tasks import TASKS
from modules.params.settings import Settings
from modules.sampling.samplers import SAMPLERS
from modules.sampling.schedules import SCHEDULES

ROOT = Path(__file__).resolve().parents[2]
FLOORS = (ROOT / "modules" / "README.md").read_text(encoding="utf-8")
MODULES = sorted((ROOT / "modules").rglob("*.py"))
DECLARING = dict.fromkeys((*(task.request for task in TASKS), ExtrasRequest, Settings))
PARAMS = {
    f"{model.__name__}.{name}": row for model in DECLARING for name, row in params_of(model).items()
}


@pytest.mark.parametrize("file", MODULES, ids=lambda file: "/".join(file.parts[-2:]))
def test_every_module_says_what_it_is_for(file: Path):
    assert ast.get_docstring(ast.parse(file.read_text(encoding="utf-8")))


def test_every_sampler_and_schedule_says_where_it_is_from():
    functions = [row.run for row in SAMPLERS] + [row.sigmas for row in SCHEDULES if row.sigmas]
    assert [function.__name__ for function in functions if not function.__doc__] == []


@pytest.mark.parametrize("name", list(PARAMS))
def test_every_parameter_has_a_label_and_a_sentence_of_help(name: str):
    assert PARAMS[name].label
    assert PARAMS[name].help.endswith(".")


def test_every_field_is_declared_with_param():
    for model in DECLARING:
        assert set(model.model_fields) == set(params_of(model))


def test_every_flag_has_help():
    assert all(one.metadata["flag"].help for one in fields(Flags) if "flag" in one.metadata)
    assert all(row.reason for row in IGNORED_FLAGS)


def test_help_lists_every_flag(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        parse_flags(["--help"])
    told = capsys.readouterr().out
    names = [one.name.replace("_", "-") for one in fields(Flags) if "flag" in one.metadata]
    assert [name for name in names if f"--{name}" not in told] == []


def test_every_floor_is_on_the_plan():
    floors = [
        path.stem for path in (ROOT / "modules").iterdir() if path.suffix == ".py" or path.is_dir()
    ]
    expected = {name for name in floors if name not in ("__init__", "__pycache__")}
    assert {name for name in expected if f"`{name}`" not in FLOORS} == set()


def test_every_file_that_a_recipe_names_exists():
    named = re.findall(r"`((?:\w+/)+\w+\.py)`", FLOORS)
    places = [name for name in named if "/x.py" not in name]
    assert len(places) > 5
    assert [name for name in places if not (ROOT / "modules" / name).exists()] == []


def test_every_package_that_is_imported_is_pinned():
    pinned = (ROOT / "requirements.txt").read_text(encoding="utf-8").lower()
    distributions = {"PIL": "pillow", "cv2": "opencv-python-headless", "yaml": "omegaconf"}
    imported: set[str] = set()
    for file in MODULES:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                imported.add(node.module.split(".")[0])
    foreign = imported - set(sys.stdlib_module_names) - {"modules", "typing_extensions"}
    names = {distributions.get(name, name).replace("_", "-") for name in foreign}
    assert {name for name in names if f"\n{name}==" not in f"\n{pinned}"} == set()
