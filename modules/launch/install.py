"""Installs PyTorch in the chosen build, then the locked requirements. Wheels only, through pip."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from modules.core.errors import UserError
from modules.launch.console import echo
from modules.launch.wheels import TORCH_VERSION, TorchBuild

RETRY_HINT = "The lines above say why. Installed packages are kept: run the same command again."
# For optional packages and for PyTorch's own server: a shorter wait than pip's default.
TIMEOUT_ARGS = ("--timeout", "20", "--retries", "2")


@dataclass(frozen=True)
class Installer:
    """Runs pip in one environment.

    Args:
        python: The environment's interpreter.
        work_folder: The environment's folder, where adapted requirement files are written.
        constraints: The lock; None to install without one.
    """

    python: Path
    work_folder: Path
    constraints: Path | None

    def pip_install(self, *arguments: str) -> bool:
        """Run `pip install` with output to the terminal; return whether it succeeded."""
        command = [str(self.python), "-m", "pip", "install", "--no-input"]
        command += ["--disable-pip-version-check", "--only-binary=:all:", *arguments]
        return subprocess.run(command, check=False).returncode == 0

    def run_torch_command(self, arguments: Sequence[str]) -> None:
        """Run the words of the user's TORCH_COMMAND, such as `pip install torch==2.13.0 --index-url ...`."""
        command = shlex.join(arguments)
        echo(f"Installing PyTorch with {command}")
        if arguments and arguments[0] == "pip3":
            arguments = ["pip", *arguments[1:]]
        if subprocess.run([str(self.python), "-m", *arguments], check=False).returncode != 0:
            raise UserError(f"TORCH_COMMAND failed: {command}", RETRY_HINT)

    def install_torch(self, build: TorchBuild, installed_version: str, *, force: bool) -> None:
        """Install a build of PyTorch, unless `installed_version` is that build already.

        Args:
            build: The build.
            installed_version: Version of PyTorch in the environment, empty for none.
            force: Whether to install it even if it is there.
        """
        if force or not matches_build(installed_version, build):
            self._install_torch_wheel(build, ("--force-reinstall",) if force else ())
        # Dependencies of a GPU build; nothing is downloaded if all of them are installed.
        if build.has_index_only_dependencies and not self.pip_install(
            build.requirement,
            "--extra-index-url",
            build.index_url,
            *TIMEOUT_ARGS,
            *self._constraint_args(),
        ):
            raise UserError(
                f"The packages that {build.requirement} needs could not be installed.", RETRY_HINT
            )

    def install_requirements(self, file: Path, installed_torch: str) -> None:
        """Install a requirements file without replacing the installed PyTorch.

        Args:
            file: The file.
            installed_torch: Version of PyTorch in the environment, empty for none.
        """
        adapted = self
        if installed_torch and installed_torch.partition("+")[0] != TORCH_VERSION:
            echo(f"PyTorch {installed_torch} is kept instead of {TORCH_VERSION}.")
            file = self._replace_torch_pin(file, "")
            lock = (
                self._replace_torch_pin(self.constraints, installed_torch)
                if self.constraints
                else None
            )
            adapted = Installer(self.python, self.work_folder, lock)
        if not adapted.pip_install("-r", str(file), *adapted._constraint_args()):
            raise UserError(f"The packages of {file.name} could not be installed.", RETRY_HINT)

    def install_to_target(self, file: Path, folder: Path) -> bool:
        """Install a requirements file into a folder, without dependencies.

        Args:
            file: The file.
            folder: Recreated; it is not on the path of the environment's Python.

        Returns:
            Whether it succeeded; if not, the folder does not exist.
        """
        shutil.rmtree(folder, ignore_errors=True)
        if self.pip_install("--no-deps", "--target", str(folder), *TIMEOUT_ARGS, "-r", str(file)):
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
        command = [str(self.python), "-m", "pip", "install", "--quiet", "--quiet", "--no-input"]
        command += ["--disable-pip-version-check", "--only-binary=:all:", *arguments]
        return subprocess.run(command, check=False, capture_output=True).returncode == 0

    def _constraint_args(self) -> tuple[str, ...]:
        return ("-c", str(self.constraints)) if self.constraints else ()

    def _replace_torch_pin(self, file: Path, version: str) -> Path:
        """Return a copy of a requirements file with another version of PyTorch, or without it."""
        lines = [line for line in file.read_text("utf-8").splitlines() if not _is_torch_pin(line)]
        copy = self.work_folder / f"webui-{file.name}"
        copy.write_text("\n".join([*lines, f"torch=={version}" if version else ""]), "utf-8")
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
