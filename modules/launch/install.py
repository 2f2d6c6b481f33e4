"""Installing: PyTorch in the chosen build, then the locked requirements. Wheels only, through pip."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from modules.core.errors import UserError
from modules.launch.console import echo
from modules.launch.wheels import TORCH_VERSION, TorchBuild

AGAIN = "The lines above say why. What is already installed is kept: run the same command again."
# For what can be done without, or comes from a second server (PyTorch's): do not wait as for the first.
PATIENCE = ("--timeout", "20", "--retries", "2")


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

    def run_torch_command(self, command: str) -> None:
        """Run the user's TORCH_COMMAND, such as `pip install torch==2.13.0 --index-url ...`."""
        echo(f"Installing PyTorch with {command}")
        words = shlex.split(command)
        if words and words[0] == "pip3":
            words[0] = "pip"
        if subprocess.run([str(self.python), "-m", *words], check=False).returncode != 0:
            raise UserError(f"TORCH_COMMAND failed: {command}", AGAIN)

    def install_torch(self, build: TorchBuild, installed_version: str, *, force: bool) -> None:
        """Install a build of PyTorch, unless `present` is that build already.

        Args:
            build: The build.
            installed_version: Version of PyTorch that the environment has, empty for none.
            force: Whether to install it even if it is there.
        """
        if force or not matches_build(installed_version, build):
            self._install_torch_wheel(build, ("--force-reinstall",) if force else ())
        # What a GPU build needs beside the wheel; nothing is downloaded when all of it is there.
        if build.has_index_only_dependencies and not self.pip_install(
            build.requirement,
            "--extra-index-url",
            build.index_url,
            *PATIENCE,
            *self._constraint_args(),
        ):
            raise UserError(f"The packages that {build.requirement} needs are missing.", AGAIN)

    def install_requirements(self, file: Path, installed_torch: str) -> None:
        """Install what a requirements file names, and leave the installed PyTorch alone.

        Args:
            file: The file.
            installed_torch: Version of PyTorch that the environment has, empty for none.
        """
        adapted = self
        if installed_torch and installed_torch.partition("+")[0] != TORCH_VERSION:
            echo(f"PyTorch {installed_torch} stays, in place of {TORCH_VERSION}.")
            file = self._replace_torch_pin(file, "")
            lock = (
                self._replace_torch_pin(self.constraints, installed_torch)
                if self.constraints
                else None
            )
            adapted = Installer(self.python, self.work_folder, lock)
        if not adapted.pip_install("-r", str(file), *adapted._constraint_args()):
            raise UserError(f"The packages of {file.name} could not be installed.", AGAIN)

    def install_to_target(self, file: Path, folder: Path) -> bool:
        """Fill a folder with what a requirements file names, and with nothing that those packages ask for.

        Args:
            file: The file.
            folder: Made anew; the environment's Python does not look into it.

        Returns:
            Whether it succeeded; if not, there is no such folder.
        """
        shutil.rmtree(folder, ignore_errors=True)
        if self.pip_install("--no-deps", "--target", str(folder), *PATIENCE, "-r", str(file)):
            return True
        shutil.rmtree(folder, ignore_errors=True)
        return False

    def _install_torch_wheel(self, build: TorchBuild, force: tuple[str, ...]) -> None:
        echo(f"Installing {build.requirement}")
        asked = ("--no-deps", *force, build.requirement)
        # A wheel in a folder that pip was told of (find-links) spares the download.
        may_be_local = build.device == "cpu" and bool(build.index_url)
        if may_be_local and self._pip_install_quietly(*asked, "--no-index"):
            return
        place = ("--index-url", build.index_url, *PATIENCE) if build.index_url else ()
        if not self.pip_install(*asked, *place):
            where = build.index_url or "PyPI"
            raise UserError(
                f"{build.requirement} could not be installed from {where}.",
                "The lines above say why. Without a way to that server set TORCH_INDEX_URL to a "
                "mirror of it, or TORCH_COMMAND to a command that installs PyTorch.",
            )

    def _pip_install_quietly(self, *arguments: str) -> bool:
        command = [str(self.python), "-m", "pip", "install", "--quiet", "--quiet", "--no-input"]
        command += ["--disable-pip-version-check", "--only-binary=:all:", *arguments]
        return subprocess.run(command, check=False, capture_output=True).returncode == 0

    def _constraint_args(self) -> tuple[str, ...]:
        return ("-c", str(self.constraints)) if self.constraints else ()

    def _replace_torch_pin(self, file: Path, version: str) -> Path:
        """Return a copy of a requirements file that names another PyTorch, or none."""
        kept = [line for line in file.read_text("utf-8").splitlines() if not _names_torch(line)]
        copy = self.work_folder / f"webui-{file.name}"
        copy.write_text("\n".join([*kept, f"torch=={version}" if version else ""]), "utf-8")
        return copy


def custom_index_build(index: str) -> TorchBuild:
    """Return the build that the user's TORCH_INDEX_URL stands for."""
    return TorchBuild(
        "",
        f"TORCH_INDEX_URL {index}",
        "auto",
        (),
        index_url=index,
        has_index_only_dependencies=True,
    )


def matches_build(version: str, build: TorchBuild) -> bool:
    """Return whether an installed version of PyTorch is a build; one without a name fits any."""
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


def _names_torch(line: str) -> bool:
    return line.replace(" ", "").startswith("torch==")
