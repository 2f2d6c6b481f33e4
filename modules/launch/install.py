"""Installs PyTorch in the chosen build and the files of a lock, by their hashes. Wheels only, through pip."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from modules.core.errors import UserError
from modules.launch.console import echo
from modules.launch.wheels import TORCH_VERSION, TorchBuild

RETRY_HINT = "The lines above say why. Installed packages are kept: run the same command again."
# For optional packages and for PyTorch's own server: a shorter wait than pip's default.
TIMEOUT_ARGS = ("--timeout", "20", "--retries", "2")
# Dependencies are in the lock themselves, so pip needs to resolve none.
LOCK_ARGS = ("--no-deps", "--require-hashes", "-r")
# What pip prints about the first file whose hash is another than the lock's.
HASH_MISMATCH = re.compile(r"DO NOT MATCH THE HASHES[^\n]*\n\s+(\S+) from ([^\s#]+)")


@dataclass(frozen=True)
class Installer:
    """Runs pip in one environment.

    Args:
        python: The environment's interpreter.
        work_folder: The environment's folder, where adapted requirement files are written.
    """

    python: Path
    work_folder: Path

    def pip_install(self, *arguments: str) -> bool:
        """Run `pip install` with output to the terminal; return whether it succeeded."""
        return subprocess.run(self._pip_command(*arguments), check=False).returncode == 0

    def install_pip(self, file: Path) -> None:
        """Replace the environment's pip by the one that a file pins; without it go on with the old one."""
        if not self.pip_install("--quiet", *TIMEOUT_ARGS, *LOCK_ARGS, str(file)):
            echo(f"Note: pip was not updated to that of {file.name}, see the lines above.")

    def install_lock(self, lock: Path) -> None:
        """Install the packages of a lock that are not there in its versions.

        Raises:
            UserError: one could not be installed, or its file is not the one that the lock names.
        """
        command = self._pip_command(*LOCK_ARGS, str(lock))
        errors: list[str] = []
        with subprocess.Popen(
            command, stderr=subprocess.PIPE, text=True, errors="replace"
        ) as process:
            for line in process.stderr or ():
                print(line, end="", file=sys.stderr, flush=True)
                errors.append(line)
        if process.returncode == 0:
            return
        if found := HASH_MISMATCH.search("".join(errors)):
            raise UserError(
                f"{found[1]} was not installed: the SHA-256 of {found[2]} differs from that in {lock.name}.",
                "A proxy, a mirror or the download has changed this file. Start again with PIP_NO_CACHE_DIR=1 in the "
                "environment, or over another network.",
            )
        raise UserError(f"The packages of {lock.name} could not be installed.", RETRY_HINT)

    def run_torch_command(self, arguments: Sequence[str]) -> None:
        """Run the words of the user's TORCH_COMMAND, such as `pip install torch==2.13.0 --index-url ...`."""
        command = shlex.join(arguments)
        echo(f"Installing PyTorch with {command}")
        if arguments and arguments[0] == "pip3":
            arguments = ["pip", *arguments[1:]]
        if subprocess.run([str(self.python), "-m", *arguments], check=False).returncode != 0:
            raise UserError(f"TORCH_COMMAND failed: {command}", RETRY_HINT)

    def install_torch(self, build: TorchBuild, installed_version: str, *, force: bool) -> None:
        """Install a build of PyTorch without its dependencies, unless `installed_version` is that build already.

        Args:
            build: The build.
            installed_version: Version of PyTorch in the environment, empty for none.
            force: Whether to install it even if it is there.
        """
        if force or not matches_build(installed_version, build):
            self._install_torch_wheel(build, ("--force-reinstall",) if force else ())

    def install_torch_dependencies(self, build: TorchBuild) -> None:
        """Install what a build of PyTorch needs in addition to the lock; nothing is downloaded if it is there."""
        if build.has_index_only_dependencies and not self.pip_install(
            build.requirement, "--extra-index-url", build.index_url, *TIMEOUT_ARGS
        ):
            raise UserError(
                f"The packages that {build.requirement} needs could not be installed.", RETRY_HINT
            )

    def install_requirements(self, file: Path, installed_torch: str) -> None:
        """Install a requirements file of the user's without replacing the installed PyTorch.

        Args:
            file: The file.
            installed_torch: Version of PyTorch in the environment, empty for none.
        """
        adapted = file
        if installed_torch and installed_torch.partition("+")[0] != TORCH_VERSION:
            adapted = self._remove_torch_pin(file)
        if not self.pip_install("-r", str(adapted)):
            raise UserError(f"The packages of {file.name} could not be installed.", RETRY_HINT)

    def install_to_target(self, file: Path, folder: Path) -> bool:
        """Install a requirements file into a folder, without dependencies.

        Args:
            file: The file, with hashes.
            folder: Recreated; it is not on the path of the environment's Python.

        Returns:
            Whether it succeeded; if not, the folder does not exist.
        """
        shutil.rmtree(folder, ignore_errors=True)
        if self.pip_install("--target", str(folder), *TIMEOUT_ARGS, *LOCK_ARGS, str(file)):
            return True
        shutil.rmtree(folder, ignore_errors=True)
        return False

    def _install_torch_wheel(self, build: TorchBuild, force: tuple[str, ...]) -> None:
        echo(f"Installing {build.requirement}")
        arguments = ("--no-deps", *force, build.requirement)
        # A wheel in a folder configured for pip (find-links) saves the download.
        may_be_local = build.device == "cpu" and bool(build.index_url)
        if may_be_local and self._pip_install_quietly(*arguments, "--no-index"):
            return
        index_args = ("--index-url", build.index_url, *TIMEOUT_ARGS) if build.index_url else ()
        if not self.pip_install(*arguments, *index_args):
            raise UserError(
                f"{build.requirement} could not be installed from {build.index_url or 'PyPI'}.",
                "The lines above say why. If that server cannot be reached, set TORCH_INDEX_URL to a "
                "mirror of it, or TORCH_COMMAND to a command that installs PyTorch.",
            )

    def _pip_install_quietly(self, *arguments: str) -> bool:
        command = self._pip_command("--quiet", "--quiet", *arguments)
        return subprocess.run(command, check=False, capture_output=True).returncode == 0

    def _pip_command(self, *arguments: str) -> list[str]:
        command = [str(self.python), "-m", "pip", "install", "--no-input"]
        return [*command, "--disable-pip-version-check", "--only-binary=:all:", *arguments]

    def _remove_torch_pin(self, file: Path) -> Path:
        """Return a copy of a requirements file without PyTorch."""
        lines = [line for line in file.read_text("utf-8").splitlines() if not _is_torch_pin(line)]
        copy = self.work_folder / f"webui-{file.name}"
        copy.write_text("\n".join([*lines, ""]), "utf-8")
        return copy


def custom_index_build(index: str) -> TorchBuild:
    """Return a build for the user's TORCH_INDEX_URL."""
    return TorchBuild(
        "",
        f"TORCH_INDEX_URL {index}",
        "auto",
        (),
        index_url=index,
        has_index_only_dependencies=True,
    )


def matches_build(version: str, build: TorchBuild) -> bool:
    """Return whether an installed version of PyTorch is of a build; a build without a name matches any."""
    return f"torch=={version}" == build.requirement or (
        not build.name and version.partition("+")[0] == TORCH_VERSION
    )


def install_variables(env: Mapping[str, str]) -> tuple[str, str, str]:
    """Return TORCH_COMMAND, TORCH_INDEX_URL and REQS_FILE, empty where they are not set."""
    return (
        env.get("TORCH_COMMAND", "").strip(),
        env.get("TORCH_INDEX_URL", "").strip(),
        env.get("REQS_FILE", "").strip(),
    )


def _is_torch_pin(line: str) -> bool:
    return line.replace(" ", "").startswith("torch==")
