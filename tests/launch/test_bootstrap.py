"""The whole set-up with real environments, a requirements file of one tiny wheel, and no network."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from modules.core.command_line import parse_flags
from modules.core.errors import UserError
from modules.launch import venv
from modules.launch.environment import drop_python_variables, split_variable
from modules.launch.setup import REFERENCE_FOLDER, Setup

ROOT = Path(__file__).parents[2]


def make_wheel(folder: Path, name: str) -> None:
    """Write the wheel of version 1.0 of an empty module."""
    info = f"{name}-1.0.dist-info"
    files = {
        f"{name}.py": "",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(wheel_path(folder, name), "w") as wheel:
        for path, text in {**files, f"{info}/RECORD": record}.items():
            wheel.writestr(path, text)


def wheel_path(folder: Path, name: str) -> Path:
    return folder / f"{name}-1.0-py3-none-any.whl"


def locked(folder: Path, *names: str) -> str:
    """Return a lock of wheels as they lie in a folder."""
    digests = {
        name: hashlib.sha256(wheel_path(folder, name).read_bytes()).hexdigest() for name in names
    }
    return "".join(f"{name}==1.0 \\\n    --hash=sha256:{digests[name]}\n" for name in names)


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
    make_wheel(folder, "faster")
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
def repository(place, tmp_path, monkeypatch):
    """The set-up of a repository whose test tool is `tinyone`, accelerator `faster`, and reference code `original`."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(place.folder))
    (tmp_path / "requirements.txt").write_text("tinyone==1.0\n")
    (tmp_path / "requirements.lock").write_text(locked(place.folder, "tinyone"))
    (tmp_path / "requirements-pip.txt").write_text(f"pip==1.0 --hash=sha256:{'0' * 64}\n")
    (tmp_path / "requirements-dev.lock").write_text(locked(place.folder, "tinyone"))
    (tmp_path / "requirements-reference.txt").write_text(locked(place.folder, "original"))
    (tmp_path / "requirements-openvino.txt").write_text(locked(place.folder, "faster"))
    (tmp_path / "requirements-ray.txt").write_text(locked(place.folder, "tinyone"))
    environment = venv.locate(tmp_path, {"venv_dir": str(place.environment)})
    return Setup(tmp_path, environment, parse_flags(["--skip-torch-cuda-test"]), {})


def test_an_accelerator_is_installed_once_by_the_start_that_asks_for_it(place, repository, capsys):
    assert not place.has("faster")
    repository.install_openvino()
    assert place.has("faster")
    assert "Installing OpenVINO" in capsys.readouterr().out
    repository.install_openvino()
    assert capsys.readouterr().out == ""


def test_ray_is_installed_once_by_the_start_that_asks_for_it(place, repository, capsys):
    repository.install_ray()
    assert place.has("tinyone")
    assert "Installing Ray" in capsys.readouterr().out
    repository.install_ray()
    assert capsys.readouterr().out == ""
    (repository.root / "requirements-ray.txt").write_text("missing==1.0\n")
    repository.install_ray()
    assert "Note: Ray could not be installed" in capsys.readouterr().out


def test_the_reference_code_is_installed_once_and_not_on_the_path(place, repository, capsys):
    repository.install_for_tests()
    assert (place.environment / REFERENCE_FOLDER / "original.py").is_file()
    assert not place.has("original")
    capsys.readouterr()
    repository.install_for_tests()
    assert capsys.readouterr().out == ""


def test_a_missing_accelerator_stops_no_start_and_is_tried_again(repository, place, capsys):
    lock = locked(place.folder, "faster").replace("faster", "missing")
    (repository.root / "requirements-openvino.txt").write_text(lock)
    for _ in range(2):
        repository.install_openvino()
        assert "PyTorch computes instead" in capsys.readouterr().out


def test_changed_reference_code_replaces_the_old(place, repository):
    repository.install_for_tests()
    lock = locked(place.folder, "tinytwo")
    (repository.root / "requirements-reference.txt").write_text(lock)
    repository.install_for_tests()
    folder = place.environment / REFERENCE_FOLDER
    assert sorted(file.name for file in folder.glob("*.py")) == ["tinytwo.py"]


def test_missing_reference_code_is_no_error_and_is_tried_again(place, repository, capsys):
    lock = locked(place.folder, "original").replace("original", "missing")
    (repository.root / "requirements-reference.txt").write_text(lock)
    for _ in range(2):
        repository.install_for_tests()
        assert "Its tests are skipped" in capsys.readouterr().out
        assert not (place.environment / REFERENCE_FOLDER).exists()


def test_a_changed_lock_installs_what_changed_alone(place, repository, capfd):
    make_wheel(place.folder, "tinythree")
    lock = locked(place.folder, "tinyone", "tinythree")
    (repository.root / "requirements-dev.lock").write_text(lock)
    repository.install_for_tests()
    assert "Successfully installed tinythree-1.0\n" in capfd.readouterr().out


@pytest.mark.parametrize("from_index", [False, True])
def test_a_wheel_with_one_changed_byte_is_refused_in_a_sentence(
    place, repository, tmp_path, monkeypatch, from_index
):
    folder = tmp_path / "simple" / "tampered"
    folder.mkdir(parents=True)
    make_wheel(folder, "tampered")
    lock = locked(folder, "tampered")
    (repository.root / "requirements-dev.lock").write_text(lock)
    wheel = wheel_path(folder, "tampered")
    digest, data = lock.split(":")[1].strip(), bytearray(wheel.read_bytes())
    data[len(data) // 2] ^= 1
    wheel.write_bytes(data)
    link = f'<a href="{wheel.name}#sha256={digest}">{wheel.name}</a>'
    (folder / "index.html").write_text(f"<!DOCTYPE html><html><body>{link}</body></html>")
    if from_index:
        monkeypatch.delenv("PIP_NO_INDEX")
        monkeypatch.setenv("PIP_INDEX_URL", (tmp_path / "simple").as_uri())
    else:
        monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    with pytest.raises(UserError) as refused:
        repository.install_for_tests()
    assert refused.value.message == (
        f"tampered==1.0 was not installed: the SHA-256 of {wheel.as_uri()} "
        "differs from that in requirements-dev.lock."
    )
    assert not place.has("tampered")


def test_a_package_of_the_lock_that_cannot_be_found_is_named_with_the_lock(place, repository):
    lock = locked(place.folder, "tinyone").replace("tinyone", "missing")
    (repository.root / "requirements-dev.lock").write_text(lock)
    with pytest.raises(UserError, match=r"packages of requirements-dev\.lock could not"):
        repository.install_for_tests()


def test_the_lock_is_installed_beside_a_pytorch_of_the_users(place, repository, capfd):
    make_wheel(place.folder, "torch")
    make_wheel(place.folder, "tinyfour")
    lock = locked(place.folder, "tinyone", "tinyfour")
    (repository.root / "requirements.lock").write_text(lock)
    setup = replace(repository, env={"TORCH_COMMAND": "pip install torch"})
    state = setup.run()
    printed = capfd.readouterr()
    shutil.rmtree(next(place.environment.rglob("torch-1.0.dist-info")))
    assert state.torch == "1.0"
    assert "PyTorch 1.0 is kept instead of" in printed.out
    assert place.has("tinyfour")
    assert "pip was not updated to that of requirements-pip.txt" in printed.out


def test_a_torch_command_that_installs_no_pytorch_is_an_error(repository):
    with pytest.raises(UserError, match="TORCH_COMMAND has installed no PyTorch"):
        replace(repository, env={"TORCH_COMMAND": "pip --version"}).run()


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
    done = place.start(COMMANDLINE_ARGS="--upcast-sampling --ckpt-dir 'my models'")
    assert done.returncode == 0
    assert "--upcast-sampling is accepted, but has no effect" in done.stdout


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
