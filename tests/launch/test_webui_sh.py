"""webui.sh with various Pythons, faked by shell scripts on an otherwise empty PATH."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from modules.launch.interpreter import MAX_PYTHON, MIN_PYTHON

ROOT = Path(__file__).parents[2]
BASH = shutil.which("bash") or ""
LAUNCH = """import json, os, sys
names = ("venv_dir", "COMMANDLINE_ARGS", "TORCH_COMMAND", "REQS_FILE")
print(json.dumps([os.getcwd(), sys.argv[1:], {n: os.environ.get(n) for n in names}]))
"""
pytestmark = pytest.mark.skipif(os.name == "nt" or not BASH, reason="a bash script")


@dataclass(frozen=True)
class Machine:
    """A clone of the repository and a separate PATH."""

    clone: Path
    path: Path

    def add(self, name: str, body: str) -> None:
        file = self.path / name
        file.write_text(f"#!{BASH}\n{body}\n")
        file.chmod(0o755)

    def add_python(self, name: str) -> None:
        self.add(name, f'exec "{sys.executable}" "$@"')

    def write_user_settings(self, text: str) -> None:
        (self.clone / "webui-user.sh").write_text(text)

    def run(
        self, *flags: str, script: Path | None = None, shell: str = BASH, **variables: str
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [shell, str(script or self.clone / "webui.sh"), *flags],
            env={"PATH": str(self.path), **variables},
            cwd="/",
            capture_output=True,
            text=True,
        )

    def start(self, *flags: str) -> tuple[str, list[str], dict[str, str | None]]:
        done = self.run(*flags)
        assert done.returncode == 0, done.stderr
        return tuple(json.loads(done.stdout))


@pytest.fixture
def machine(tmp_path):
    clone, path = tmp_path / "my clone", tmp_path / "bin"
    clone.mkdir()
    path.mkdir()
    shutil.copy(ROOT / "webui.sh", clone)
    (clone / "launch.py").write_text(LAUNCH)
    machine = Machine(clone, path)
    for tool in ("dirname", "uname"):
        (path / tool).symlink_to(shutil.which(tool))
    return machine


def test_without_a_python_it_prints_how_to_install_one_and_creates_nothing(machine):
    machine.add("apt-get", "exit 1")
    done = machine.run()
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.strip().splitlines() == [
        "The WebUI needs a 64-bit Python 3.10 to 3.13 and found none on PATH; "
        "install one with: sudo apt install python3 python3-venv"
    ]
    assert sorted(path.name for path in machine.clone.iterdir()) == ["launch.py", "webui.sh"]


def test_on_a_mac_homebrew_is_named(machine):
    (machine.path / "uname").unlink()
    machine.add("uname", "echo Darwin")
    assert machine.run().stderr.strip().endswith("brew install python@3.12")


def test_a_python_that_is_too_old_is_named(machine):
    machine.add("python3", "printf 3.8; exit 1")
    done = machine.run()
    assert done.returncode == 1
    assert "python3 is Python 3.8;" in done.stderr


def test_a_failing_shim_is_skipped(machine):
    machine.add("python3", 'echo "pyenv: python3: command not found" >&2; exit 127')
    machine.add_python("python3.11")
    assert machine.start("--api")[1] == ["--api"]


def test_a_python_without_venv_names_the_package(machine):
    machine.add("apt-get", "exit 1")
    machine.add("python3", 'case "$2" in *ensurepip*) exit 1;; *) printf 3.11;; esac')
    done = machine.run()
    assert done.returncode == 1
    assert done.stderr.strip().endswith(
        "install what is missing with: sudo apt install python3.11-venv"
    )
    assert sorted(path.name for path in machine.clone.iterdir()) == ["launch.py", "webui.sh"]


def test_a_python_with_venv_is_preferred_to_one_without(machine):
    machine.add("python3", 'case "$2" in *ensurepip*) exit 1;; *) printf 3.11;; esac')
    machine.add_python("python3.12")
    assert machine.start()[1] == []


def test_without_an_environment_no_venv_module_is_needed(machine):
    machine.write_user_settings('venv_dir="-"\n')
    machine.add(
        "python3", f'case "$2" in *ensurepip*) exit 1;; *) exec "{sys.executable}" "$@";; esac'
    )
    assert machine.start()[2]["venv_dir"] == "-"


def test_it_runs_in_its_own_folder_and_keeps_arguments_whole(machine):
    machine.add_python("python3")
    folder, arguments, _ = machine.start("--ckpt-dir", "my models", "--run-tests", "-k", "a or b")
    assert folder == str(machine.clone)
    assert arguments == ["--ckpt-dir", "my models", "--run-tests", "-k", "a or b"]


def test_variables_of_webui_user_sh_are_used(machine):
    machine.add_python("my-python")
    machine.write_user_settings(
        "python_cmd=my-python\nvenv_dir='other venv'\nCOMMANDLINE_ARGS='--api'\n"
        "export REQS_FILE=mine.txt\n"
    )
    assert machine.start()[2] == {
        "venv_dir": "other venv",
        "COMMANDLINE_ARGS": "--api",
        "TORCH_COMMAND": None,
        "REQS_FILE": "mine.txt",
    }


@pytest.mark.parametrize("is_relative", [False, True])
def test_it_runs_in_the_folder_of_the_file_that_links_lead_to(machine, tmp_path, is_relative):
    machine.add_python("python3")
    (machine.path / "readlink").symlink_to(shutil.which("readlink"))
    target = Path("my clone/webui.sh") if is_relative else machine.clone / "webui.sh"
    (tmp_path / "webui").symlink_to(target)
    (machine.path / "sd").symlink_to("../webui")
    done = machine.run(script=machine.path / "sd")
    assert json.loads(done.stdout)[0] == str(machine.clone)


@pytest.mark.skipif(not shutil.which("dash"), reason="another shell than bash")
def test_another_shell_hands_over_to_bash(machine):
    machine.add_python("python3")
    (machine.path / "bash").symlink_to(BASH)
    done = machine.run("--api", shell=shutil.which("dash"))
    assert json.loads(done.stdout)[1] == ["--api"]


@pytest.mark.parametrize(
    "variables",
    [
        {"PYTHONHOME": "/nowhere"},
        {"PYTHONPLATLIBDIR": "/nowhere"},
        {"PYTHONSAFEPATH": "1"},
        {"PYTHONINSPECT": "1"},
        {"CDPATH": "/nowhere:/"},
    ],
)
def test_variables_of_another_python_or_shell_do_no_harm(machine, variables):
    machine.add_python("python3")
    (machine.clone / "launch.py").write_text(
        "import json, os; print(json.dumps([sorted(os.environ)]))"
    )
    done = machine.run(**variables)
    assert done.returncode == 0, done.stderr
    assert not set(variables) & set(json.loads(done.stdout)[0])


def test_the_python_that_is_used_itself_keeps_its_variables(machine):
    machine.write_user_settings('venv_dir="-"\n')
    machine.add(
        "python3", f'echo "[\\"$PYTHONHOME\\"]"; unset PYTHONHOME; "{sys.executable}" -c ""'
    )
    assert json.loads(machine.run(PYTHONHOME="/mine").stdout) == ["/mine"]


@pytest.mark.parametrize(
    "data",
    [
        b'export COMMANDLINE_ARGS="--exit"\r\nvenv_dir="venv"\r\n',
        b'\xef\xbb\xbfexport COMMANDLINE_ARGS="--exit"\nvenv_dir=venv',
        b"\xef\xbb\xbfif true; then\r\n  COMMANDLINE_ARGS=--exit\r\nfi\r\nvenv_dir=venv\r\nreturn 0 2>/dev/null\r\n",
    ],
)
def test_user_settings_from_an_editor_of_windows_are_read(machine, data):
    machine.add_python("python3")
    (machine.clone / "webui-user.sh").write_bytes(data)
    variables = machine.start()[2]
    assert (variables["COMMANDLINE_ARGS"], variables["venv_dir"]) == ("--exit", "venv")


def test_user_settings_may_return_early_and_end_with_a_false_test(machine):
    machine.add_python("python3")
    machine.write_user_settings(
        "venv_dir=mine\n[ -n '' ] && venv_dir=other\nreturn 1\nvenv_dir=third\n"
    )
    assert machine.start()[2]["venv_dir"] == "mine"


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b'export COMMANDLINE_ARGS="--exit\nvenv_dir=venv\n', "webui-user.sh cannot be read"),
        (b"if true; then\n", "webui-user.sh cannot be read"),
        ("venv_dir=venv\n".encode("utf-16"), "webui-user.sh is saved as UTF-16"),
    ],
)
def test_user_settings_that_cannot_be_read_are_an_error(machine, data, sentence):
    machine.add_python("python3")
    (machine.clone / "webui-user.sh").write_bytes(data)
    done = machine.run()
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.strip().splitlines()[-1].startswith(sentence)


def test_a_python_cmd_that_does_not_work_is_an_error(machine):
    machine.add_python("python3")
    machine.write_user_settings("python_cmd=python3.99\n")
    done = machine.run()
    assert done.returncode == 1
    assert "python_cmd names 'python3.99'" in done.stderr


def test_the_python_of_the_environment_is_the_last_resort(machine):
    environment = machine.clone / "venv" / "bin"
    environment.mkdir(parents=True)
    (environment / "python").symlink_to(sys.executable)
    assert machine.start()[1] == []


def test_the_templates_of_webui_user_change_nothing(machine):
    machine.add_python("python3")
    shutil.copy(ROOT / "webui-user.sh.template", machine.clone / "webui-user.sh")
    assert set(machine.start()[2].values()) == {None}


def test_templates_have_the_line_ends_of_their_shell_in_every_checkout():
    attributes = (ROOT / ".gitattributes").read_text().splitlines()
    assert "*.sh.template text eol=lf" in attributes
    assert "*.bat.template text eol=crlf" in attributes


@pytest.mark.parametrize("name", ["webui.sh", "webui.bat"])
def test_every_launcher_accepts_the_same_versions(name):
    text = (ROOT / name).read_text(encoding="utf-8")
    found = re.findall(r"\((3, \d+)\) <= sys\.version_info\[:2\] <= \((3, \d+)\)", text)
    assert found == [(f"{MIN_PYTHON[0]}, {MIN_PYTHON[1]}", f"{MAX_PYTHON[0]}, {MAX_PYTHON[1]}")]
