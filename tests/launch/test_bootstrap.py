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
from modules.launch.bootstrap import split_arguments
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
    """A folder with wheels, a requirements file and room for an environment."""

    folder: Path

    @property
    def environment(self) -> Path:
        return self.folder / "venv"

    @property
    def python(self) -> Path:
        return self.environment / ("Scripts/python.exe" if os.name == "nt" else "bin/python")

    def require(self, *names: str) -> None:
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
    place.require("tinyone")
    done = place.start()
    assert done.returncode == 0, done.stdout + done.stderr
    return place


def test_a_fresh_start_installs_and_stamps(place):
    stamp = json.loads((place.environment / "webui-stamp.json").read_text())
    assert place.has("tinyone")
    assert stamp["python"] == "{}.{}".format(*sys.version_info)
    assert stamp["reason"] == "TORCH_COMMAND says so"


def test_a_second_start_runs_no_pip(place):
    done = place.start()
    assert done.returncode == 0
    assert "Installing" not in done.stdout
    assert "pip" not in done.stdout


def test_changed_requirements_install_what_changed(place):
    place.require("tinyone", "tinytwo")
    done = place.start()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Successfully installed tinytwo-1.0\n" in done.stdout
    assert place.has("tinytwo")


def test_a_half_made_environment_is_completed(place):
    (place.environment / "webui-stamp.json").unlink()
    [module] = place.environment.rglob("tinyone.py")
    [info] = place.environment.rglob("tinyone-1.0.dist-info")
    module.unlink()
    shutil.rmtree(info)
    done = place.start()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "making it again" not in done.stdout
    assert place.has("tinyone")


def test_a_pytorch_cut_off_while_unpacking_counts_as_none(place):
    [pip] = place.environment.rglob("site-packages/pip")
    torch = pip.parent / "torch"
    torch.mkdir()
    (torch / "__init__.py").touch()
    contents = venv.inspect(venv.locate(ROOT, {"venv_dir": str(place.environment)}))
    shutil.rmtree(torch)
    assert contents is not None
    assert (contents.has_pip, contents.torch) == (True, "")


def test_a_failed_change_leaves_no_stamp_and_says_what_to_do(place):
    place.require("tinyone", "missing")
    done = place.start()
    assert done.returncode == 1
    assert "requirements.txt could not be installed" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (place.environment / "webui-stamp.json").exists()
    place.require("tinyone")


@pytest.fixture
def for_tests(place, tmp_path, monkeypatch):
    """The set-up of a repository whose tests compare with the package `original`."""
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


def test_the_original_code_is_installed_once_and_out_of_the_programs_sight(
    place, for_tests, capsys
):
    for_tests.install_for_tests()
    assert (place.environment / REFERENCE_FOLDER / "original.py").is_file()
    assert not place.has("original")
    capsys.readouterr()
    for_tests.install_for_tests()
    assert capsys.readouterr().out == ""


def test_changed_original_code_takes_the_place_of_the_old(place, for_tests):
    for_tests.install_for_tests()
    (for_tests.root / "requirements-reference.txt").write_text("tinytwo==1.0\n")
    for_tests.install_for_tests()
    folder = place.environment / REFERENCE_FOLDER
    assert sorted(file.name for file in folder.glob("*.py")) == ["tinytwo.py"]


def test_original_code_that_cannot_be_had_stops_nothing_and_is_asked_for_again(
    place, for_tests, capsys
):
    (for_tests.root / "requirements-reference.txt").write_text("missing==1.0\n")
    for _ in range(2):
        for_tests.install_for_tests()
        assert "Its tests are skipped" in capsys.readouterr().out
        assert not (place.environment / REFERENCE_FOLDER).exists()


@pytest.mark.skipif(os.name == "nt", reason="replaces a link to Python")
def test_a_broken_environment_is_made_again(place):
    place.python.unlink()
    place.python.symlink_to("/nowhere/python")
    done = place.start()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "making it again" in done.stdout
    assert place.has("tinyone")


def test_a_folder_that_is_no_environment_of_ours_is_never_deleted(place, tmp_path):
    photo = tmp_path / "photos" / "cat.jpg"
    photo.parent.mkdir()
    photo.write_text("cat")
    done = place.start(venv_dir=str(photo.parent))
    assert done.returncode == 1
    assert "was not made by the WebUI" in done.stderr
    assert photo.read_text() == "cat"


def test_an_unknown_flag_fails_before_anything_is_made(place, tmp_path):
    done = place.start("--prot", "1", venv_dir=str(tmp_path / "venv"))
    assert done.returncode == 1
    assert done.stderr.strip().splitlines()[0] == "There is no flag --prot. Did you mean --port?"
    assert list(tmp_path.iterdir()) == []


def test_a_missing_requirements_file_fails_before_anything_is_made(place, tmp_path):
    done = place.start(venv_dir=str(tmp_path / "venv"), REQS_FILE=str(tmp_path / "none.txt"))
    assert done.returncode == 1
    assert "none.txt does not exist" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_commandline_args_are_read_and_moot_flags_are_told(place):
    done = place.start(COMMANDLINE_ARGS="--xformers --ckpt-dir 'my models'")
    assert done.returncode == 0
    assert "--xformers is accepted, but has no effect" in done.stdout


def test_the_running_python_is_used_when_venv_dir_is_a_dash():
    environment = venv.locate(ROOT, {"venv_dir": "-"})
    assert environment.python == Path(sys.executable)
    assert not environment.is_managed


def test_the_default_environment_lies_in_the_repository():
    environment = venv.locate(ROOT, {})
    assert environment.folder == ROOT / "venv"
    assert environment.is_managed


def test_backslashes_stay_in_windows_paths():
    text = r'--ckpt-dir "C:\my models" --api'
    assert split_arguments(text, windows=True) == ["--ckpt-dir", r"C:\my models", "--api"]
    assert split_arguments("--ckpt-dir 'a b'", windows=False) == ["--ckpt-dir", "a b"]
