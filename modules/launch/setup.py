"""The set-up: environment, PyTorch, requirements, smoke test, and finally the install state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from modules.core.errors import UserError
from modules.core.flags import Flags
from modules.launch import hardware, install_state, smoke, venv, wheels
from modules.launch.console import echo
from modules.launch.environment import split_variable
from modules.launch.install import (
    LOCK_ARGS,
    TIMEOUT_ARGS,
    Installer,
    custom_index_build,
    install_variables,
)
from modules.launch.install_state import InstallState
from modules.launch.venv import EnvironmentInfo, PythonEnvironment
from modules.launch.wheels import BuildChoice

# In the environment's folder, but not on its path: used only by tests/reference.
REFERENCE_FOLDER = "webui-reference"


@dataclass(frozen=True)
class Setup:
    """Installs what the repository requires into one environment.

    Args:
        root: The repository.
        environment: Where to install.
        flags: The command line.
        env: Environment variables, including those of `webui-user`.
    """

    root: Path
    environment: PythonEnvironment
    flags: Flags
    env: Mapping[str, str]

    @property
    def requirements(self) -> Path:
        """The requirements file: `requirements.txt`, or the user's REQS_FILE."""
        return self.root / (install_variables(self.env)[2] or "requirements.txt")

    @property
    def lock(self) -> Path | None:
        """The lock of `requirements.txt`; None with the user's REQS_FILE."""
        return None if install_variables(self.env)[2] else self.root / "requirements.lock"

    @property
    def pip_pin(self) -> Path:
        """The file that pins pip."""
        return self.root / "requirements-pip.txt"

    def fingerprint(self) -> str:
        """Return a hash of everything that the set-up depends on."""
        command, index, _ = install_variables(self.env)
        files = [self.requirements, *([self.lock] if self.lock else []), self.pip_pin]
        return install_state.fingerprint(files, wheels.TORCH_VERSION, command, index)

    def is_current(self) -> bool:
        """Return whether nothing needs to be done. Runs no pip and uses no network."""
        if self.flags.reinstall_torch:
            return False
        state = install_state.read_install_state(self.environment.folder)
        if state is None or state.fingerprint != self.fingerprint():
            return False
        info = venv.inspect(self.environment)
        return info is not None and info.python == state.python

    def run(self) -> InstallState:
        """Install what is missing; write and return the install state.

        Raises:
            UserError: a variable is not valid, or something could not be installed; installed packages are kept.
        """
        if not self.requirements.is_file():
            raise UserError(
                f"{self.requirements} does not exist.", "REQS_FILE must name a requirements file."
            )
        torch_command = split_variable(self.env, "TORCH_COMMAND")
        choice = self._choose_build()
        info = venv.ensure(self.environment)
        install_state.remove_install_state(self.environment.folder)
        if not self.flags.skip_install:
            self._install(choice, info, torch_command)
        report = self._verify(choice)
        state = InstallState(
            fingerprint=self.fingerprint(),
            python=info.python,
            torch=report.torch,
            device=report.device,
            reason=choice.reason,
            warning=_warning(choice, report),
        )
        if state.warning:
            echo(f"Note: {state.warning}")
        self._write_state(state, self.environment.folder)
        return state

    def install_for_tests(self) -> None:
        """Install the test tools, OpenVINO and the reference code of tests/reference, unless they are there.

        Raises:
            UserError: the test tools could not be installed. Without the others their tests are skipped.
        """
        if self.flags.skip_install:
            return
        python = self._inspect_environment().python
        self._install_test_tools(python)
        self.install_openvino("Its tests are skipped")
        self.install_ray("Its tests are skipped")
        self._install_reference(python)

    def install_openvino(self, without: str = "PyTorch computes instead") -> None:
        """Install OpenVINO, unless it is there.

        Args:
            without: What happens if it cannot be installed.
        """
        name = install_state.OPENVINO_STATE_FILENAME
        self._install_extra("OpenVINO", "requirements-openvino.txt", name, without)

    def install_ray(self, without: str = "Without it no other device can be used") -> None:
        """Install Ray, unless it is there.

        Args:
            without: What happens if it cannot be installed.
        """
        self._install_extra(
            "Ray", "requirements-ray.txt", install_state.RAY_STATE_FILENAME, without
        )

    def _install_extra(self, title: str, packages_name: str, state_name: str, without: str) -> None:
        """Install packages that only a flag needs; the program continues where they cannot be installed."""
        if self.flags.skip_install:
            return
        folder, packages = self.environment.folder, self.root / packages_name
        python = self._inspect_environment().python
        state = InstallState(install_state.fingerprint([packages]), python)
        if install_state.read_install_state(folder, state_name) == state:
            return
        echo(f"Installing {title}")
        install_state.remove_install_state(folder, state_name)
        if self._installer.pip_install(*TIMEOUT_ARGS, *LOCK_ARGS, str(packages)):
            self._write_state(state, folder, state_name)
        else:
            echo(f"Note: {title} could not be installed, see the lines above. {without}.")

    def _install_test_tools(self, python: str) -> None:
        folder, lock = self.environment.folder, self.root / "requirements-dev.lock"
        state = InstallState(install_state.fingerprint([lock]), python)
        if install_state.read_install_state(folder, install_state.TEST_STATE_FILENAME) == state:
            return
        echo("Installing the test tools")
        install_state.remove_install_state(folder, install_state.TEST_STATE_FILENAME)
        self._installer.install_lock(lock)
        self._write_state(state, folder, install_state.TEST_STATE_FILENAME)

    def _install_reference(self, python: str) -> None:
        folder = self.environment.folder / REFERENCE_FOLDER
        packages = self.root / "requirements-reference.txt"
        state = InstallState(install_state.fingerprint([packages]), python)
        if install_state.read_install_state(folder) == state:
            return
        echo("Installing the reference code for tests/reference")
        if self._installer.install_to_target(packages, folder):
            self._write_state(state, folder)
        else:
            echo("Note: it could not be installed, see the lines above. Its tests are skipped.")

    def _choose_build(self) -> BuildChoice:
        command, index, _ = install_variables(self.env)
        if command:
            choice = BuildChoice(custom_index_build(""), "TORCH_COMMAND is set")
        elif index:
            choice = BuildChoice(custom_index_build(index), "TORCH_INDEX_URL is set")
        else:
            choice = wheels.choose_build(hardware.probe())
            echo(f"PyTorch {wheels.TORCH_VERSION} for {choice.build.label}: {choice.reason}.")
        return choice

    def _install(
        self, choice: BuildChoice, info: EnvironmentInfo, torch_command: Sequence[str]
    ) -> None:
        installer = self._installer
        if self.environment.is_managed:
            installer.install_pip(self.pip_pin)
        if torch_command:
            installer.run_torch_command(torch_command)
        else:
            force = self.flags.reinstall_torch
            installer.install_torch(choice.build, info.torch, force=force)
        torch = self._inspect_environment().torch
        if self.lock and not torch:
            raise UserError(
                "TORCH_COMMAND has installed no PyTorch.",
                "Let it install the package torch, or remove it, and start again.",
            )
        if torch and torch.partition("+")[0] != wheels.TORCH_VERSION:
            echo(f"PyTorch {torch} is kept instead of {wheels.TORCH_VERSION}.")
        echo(f"Installing the packages of {self.requirements.name}")
        if self.lock:
            installer.install_lock(self.lock)
        if not torch_command:
            installer.install_torch_dependencies(choice.build)
        if not self.lock:
            installer.install_requirements(self.requirements, torch)

    def _verify(self, choice: BuildChoice) -> smoke.SmokeReport:
        device = choice.build.device
        if self.flags.skip_torch_cuda_test:
            return smoke.SmokeReport(
                self._inspect_environment().torch, "" if device == "auto" else device
            )
        echo("Testing PyTorch")
        report = self._run_smoke_test(device)
        if not report.problem:
            return report
        problem = f"{choice.build.label} cannot be used: {report.problem}"
        if not report.torch and choice.build.index_url and device != "cpu":
            echo(f"{problem}. Installing PyTorch for the CPU instead.")
            self._installer.install_torch(wheels.cpu_build(hardware.probe()), "", force=True)
        fallback = self._run_smoke_test("cpu")
        if fallback.problem:
            raise UserError(
                f"PyTorch does not work here: {fallback.problem}.",
                "Start once with --reinstall-torch, or delete the venv folder and start again.",
            )
        warning = f"Pictures are made on the CPU, slowly: {problem}."
        return smoke.SmokeReport(fallback.torch, "cpu", warning)

    def _run_smoke_test(self, device: str) -> smoke.SmokeReport:
        index = self.flags.device_id or 0
        return smoke.run(self.environment.python, self.root, device, index)

    @property
    def _installer(self) -> Installer:
        return Installer(self.environment.python, self.environment.folder)

    def _inspect_environment(self) -> EnvironmentInfo:
        return venv.inspect(self.environment) or EnvironmentInfo("", has_pip=False, torch="")

    def _write_state(
        self, state: InstallState, folder: Path, name: str = install_state.STATE_FILENAME
    ) -> None:
        try:
            install_state.write_install_state(folder, state, name)
        except OSError as error:
            echo(f"The next start will check everything again: {error}.")


def _warning(choice: BuildChoice, report: smoke.SmokeReport) -> str:
    remark = f"{choice.build.label}: {report.remark}." if report.remark else ""
    return report.problem or choice.warning or remark
