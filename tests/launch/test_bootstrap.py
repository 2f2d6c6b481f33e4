"""The whole set-up with real environments, a requirements file of one tiny wheel, and no network."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

from modules.core.flags import parse_flags
from modules.launch import venv
from modules.launch.environment import drop_python_variables, split_variable
from modules.launch.setup import REFERENCE_FOLDER, Setup

ROOT = Path(__file__).parents[2]


def make_wheel(folder: Path, name: str) -> None:
    info = f"{name}-1.0.dist-info"
    files = {
        f"{name}.py": "",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as wheel:
        for path, text in {**files, f"{info}/RECORD": record}.items():
            wheel.writestr(path, text)


@dataclass(frozen=True)
class Place:
    """A folder with wheels, a requirements file and an environment."""

    folder: Path

    @property
    def environment(self) -> Path:
        return self.folder / "venv"

    @property
    def python(self) -> Path:
        return self.environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")

    def write_requirements(self, *names: str) -> None:
        text = "".join(f"{name}==1.0\n" for name in names)
        (self.folder / "requirements.txt").write_text(text, encoding="utf-8")

    def start(self, *flags: str, **variables: str) -> subprocess.CompletedProcess[str]:
        env = {
            **{k: v for k, v in os.environ.items() if not k.startswith("PIP_")},
            "PIP_CONFIG_FILE": os.devnull,
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(self.folder),
            "REQS_FILE": str(self.folder / "requirements.txt"),
            "TORCH_COMMAND": "pip --version",
            "venv_dir": str(self.environment),
            **variables,
        }
        command = [sys.executable, str(ROOT / "launch.py"), "--exit", "--skip-torch-cuda-test"]
        return subprocess.run([*command, *flags], env=env, capture_output=True, text=True)

    def has(self, name: str) -> bool:
        command = [str(self.python), "-c", f"import {name}"]
        return subprocess.run(command, capture_output=True).returncode == 0


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("launch")
    make_wheel(folder, "tinyone")
    make_wheel(folder, "tinytwo")
    make_wheel(folder, "original")
    place = Place(folder)
    place.write_requirements("tinyone")
    done = place.start()
    assert done.returncode == 0, done.stdout + done.stderr
    return place


def test_a_fresh_start_installs_and_writes_the_install_state(place):
    state = json.loads((place.environment / "webui-stamp.json").read_text())
    assert place.has("tinyone")
    assert state["python"] == "{}.{}".format(*sys.version_info)
    assert state["reason"] == "TORCH_COMMAND is set"


def test_a_second_start_runs_no_pip(place):
    done = place.start()
    assert done.returncode == 0
    assert "Installing" not in done.stdout
    assert "pip" not in done.stdout


def test_changed_requirements_are_installed(place):
    place.write_requirements("tinyone", "tinytwo")
    done = place.start()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Successfully installed tinytwo-1.0\n" in done.stdout
    assert place.has("tinytwo")


def test_an_incomplete_environment_is_completed(place):
    (place.environment / "webui-stamp.json").unlink()
    [module] = place.environment.rglob("tinyone.py")
    [info] = place.environment.rglob("tinyone-1.0.dist-info")
    module.unlink()
    shutil.rmtree(info)
    done = place.start()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "recreating it" not in done.stdout
    assert place.has("tinyone")


def test_a_pytorch_interrupted_while_unpacking_counts_as_missing(place):
    [pip] = place.environment.rglob("site-packages/pip")
    torch = pip.parent / "torch"
    torch.mkdir()
    (torch / "__init__.py").touch()
    info = venv.inspect(venv.locate(ROOT, {"venv_dir": str(place.environment)}))
    shutil.rmtree(torch)
    assert info is not None
    assert (info.has_pip, info.torch) == (True, "")


def test_a_failed_change_leaves_no_install_state_and_names_the_file(place):
    place.write_requirements("tinyone", "missing")
    done = place.start()
    assert done.returncode == 1
    assert "requirements.txt could not be installed" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (place.environment / "webui-stamp.json").exists()
    place.write_requirements("tinyone")


@pytest.fixture
def reference_setup(place, tmp_path, monkeypatch):
    """The set-up of a repository whose reference code is the package `original`."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(place.folder))
    (tmp_path / "requirements-dev.txt").write_text("tinyone==1.0\n")
    (tmp_path / "constraints.txt").touch()
    (tmp_path / "requirements-reference.txt").write_text("original==1.0\n")
    environment = venv.locate(tmp_path, {"venv_dir": str(place.environment)})
    return Setup(tmp_path, environment, parse_flags([]), {})


def test_the_reference_code_is_installed_once_and_not_on_the_path(place, reference_setup, capsys):
    reference_setup.install_for_tests()
    assert (place.environment / REFERENCE_FOLDER / "original.py").is_file()
    assert not place.has("original")
    capsys.readouterr()
    reference_setup.install_for_tests()
    assert capsys.readouterr().out == ""


def test_changed_reference_code_replaces_the_old(place, reference_setup):
    reference_setup.install_for_tests()
    (reference_setup.root / "requirements-reference.txt").write_text("tinytwo==1.0\n")
    reference_setup.install_for_tests()
    folder = place.environment / REFERENCE_FOLDER
    assert sorted(file.name for file in folder.glob("*.py")) == ["tinytwo.py"]


def test_missing_reference_code_is_no_error_and_is_tried_again(place, reference_setup, capsys):
    (reference_setup.root / "requirements-reference.txt").write_text("missing==1.0\n")
    for _ in range(2):
        reference_setup.install_for_tests()
        assert "Its tests are skipped" in capsys.readouterr().out
        assert not (place.environment / REFERENCE_FOLDER).exists()


@pytest.mark.skipif(os.name == "nt", reason="replaces a link to Python")
def test_a_broken_environment_is_recreated(place):
    place.python.unlink()
    place.python.symlink_to("/nowhere/python")
    done = place.start()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "recreating it" in done.stdout
    assert place.has("tinyone")


def test_a_folder_that_is_not_our_environment_is_never_deleted(place, tmp_path):
    photo = tmp_path / "photos" / "cat.jpg"
    photo.parent.mkdir()
    photo.write_text("cat")
    done = place.start(venv_dir=str(photo.parent))
    assert done.returncode == 1
    assert "was not created by the WebUI" in done.stderr
    assert photo.read_text() == "cat"


def test_an_unknown_flag_fails_before_anything_is_created(place, tmp_path):
    done = place.start("--prot", "1", venv_dir=str(tmp_path / "venv"))
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[0] == "There is no flag --prot. Did you mean --port?"
    assert list(tmp_path.iterdir()) == []


def test_a_missing_requirements_file_fails_before_anything_is_created(place, tmp_path):
    done = place.start(venv_dir=str(tmp_path / "venv"), REQS_FILE=str(tmp_path / "none.txt"))
    assert done.returncode == 1
    assert "none.txt does not exist" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_commandline_args_are_read_and_ignored_flags_are_noted(place):
    done = place.start(COMMANDLINE_ARGS="--xformers --ckpt-dir 'my models'")
    assert done.returncode == 0
    assert "--xformers is accepted, but has no effect" in done.stdout


def test_the_running_python_is_used_when_venv_dir_is_a_dash():
    environment = venv.locate(ROOT, {"venv_dir": "-"})
    assert environment.python == Path(sys.executable)
    assert not environment.is_managed


def test_the_default_environment_is_in_the_repository():
    environment = venv.locate(ROOT, {})
    assert environment.folder == ROOT / "venv"
    assert environment.is_managed


def test_line_ends_of_windows_are_no_part_of_the_folder():
    assert venv.locate(ROOT, {"venv_dir": "venv\r"}).folder == ROOT / "venv"
    assert venv.locate(ROOT, {"venv_dir": "\r"}).folder == ROOT / "venv"


@pytest.mark.parametrize("variables", [{"PYTHONSAFEPATH": "1"}, {"PYTHONHOME": sys.base_prefix}])
def test_the_program_is_found_and_no_child_gets_variables_of_this_python(place, variables):
    done = place.start("--skip-prepare-environment", **variables)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("runs_in_venv", "kept"), [(True, set()), (False, {"PYTHONHOME"})])
def test_a_python_that_is_used_itself_keeps_its_home(runs_in_venv, kept):
    env = {"PYTHONHOME": "/a", "PYTHONSAFEPATH": "1", "PYTHONINSPECT": "1"}
    drop_python_variables(env, runs_in_venv=runs_in_venv)
    assert set(env) == kept


def test_backslashes_in_windows_paths_are_kept():
    env = {"COMMANDLINE_ARGS": r'--ckpt-dir "C:\my models" --api', "OTHER": "--ckpt-dir 'a b'"}
    words = split_variable(env, "COMMANDLINE_ARGS", windows=True)
    assert words == ["--ckpt-dir", r"C:\my models", "--api"]
    assert split_variable(env, "OTHER", windows=False) == ["--ckpt-dir", "a b"]
    assert split_variable(env, "UNSET") == []


@pytest.mark.parametrize("name", ["COMMANDLINE_ARGS", "TORCH_COMMAND"])
@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ('--exit --ckpt-dir "/tmp/x', "has an open quote: "),
        ("pip install 'torch", "has an open quote: "),
        ("it's", "has an open quote: "),
        ("a\\", "ends with a backslash: "),
    ],
)
def test_an_open_quote_fails_before_anything_is_created(place, tmp_path, name, value, sentence):
    done = place.start(**{name: value, "venv_dir": str(tmp_path / "venv")})
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[0] == f"{name} {sentence}{value}"
    assert "webui-user" in done.stderr
    assert list(tmp_path.iterdir()) == []
