"""Entry point of `./webui.sh`: check the machine, install, start the server."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from modules.core.command_line import parse_flags
from modules.core.errors import WebUIError
from modules.core.flags import Flags
from modules.launch import interpreter, venv
from modules.launch.console import echo
from modules.launch.environment import (
    drop_client_variables,
    drop_python_variables,
    set_env_defaults,
    split_variable,
)
from modules.launch.setup import Setup
from modules.launch.venv import PythonEnvironment

# One process a core; more than four would need more memory than many machines have. A file stays in one process.
ALL_TESTS = ("-n", "logical", "--maxprocesses", "4")


def main(argv: Sequence[str], root: Path) -> int:
    """Install and start; return the exit status unless the server replaces this process.

    Args:
        argv: The command line without the program's name; COMMANDLINE_ARGS is prepended.
        root: The repository.
    """
    try:
        arguments = [*split_variable(os.environ, "COMMANDLINE_ARGS"), *argv]
        return _run(arguments, parse_flags(arguments), root)
    except WebUIError as error:
        print(f"\n{error.message}\n{error.hint}".rstrip(), file=sys.stderr, flush=True)
        return 1
    except KeyboardInterrupt:
        echo("\nStopped. The next start continues from here.")
        return 130


def _run(arguments: list[str], flags: Flags, root: Path) -> int:
    for note in flags.notes:
        echo(note)
    interpreter.check(
        interpreter.current_interpreter(), any_version=flags.skip_python_version_check
    )
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        echo("Note: running as root; all new files will belong to root.")
    environment = venv.locate(root, os.environ)
    drop_python_variables(os.environ, runs_in_venv=environment.folder != Path(sys.prefix))
    if not flags.skip_prepare_environment:
        _prepare(environment, flags, root)
    set_env_defaults(os.environ)
    if flags.run_tests is not None:
        drop_client_variables(os.environ)
        pytest_arguments = flags.run_tests or ALL_TESTS
        return _replace_process(environment, ["-m", "pytest", *pytest_arguments], root)
    if flags.exit:
        echo("The set-up is complete. Start without --exit to serve the page.")
        return 0
    return _replace_process(environment, ["-m", "modules", *arguments], root)


def _prepare(environment: PythonEnvironment, flags: Flags, root: Path) -> None:
    setup = Setup(root, environment, flags, os.environ)
    if not setup.is_current():
        setup.run()
    if flags.accelerator:
        setup.install_openvino()
    if flags.uses_ray:
        setup.install_ray()
    if flags.run_tests is not None:
        setup.install_for_tests()


def _replace_process(environment: PythonEnvironment, arguments: list[str], root: Path) -> int:
    """Replace this process by the environment's Python, so that Ctrl-C reaches only that one."""
    python = environment.python if environment.python.exists() else Path(sys.executable)
    command = [str(python), *arguments]
    os.chdir(root)
    if os.name != "nt":
        os.execv(command[0], command)
    child = subprocess.Popen(command)
    while child.poll() is None:
        with contextlib.suppress(KeyboardInterrupt):
            child.wait()
    return child.returncode
