"""The set-up: an environment, PyTorch, the requirements, a smoke test, and the stamp last."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from modules.core.errors import UserError
from modules.core.flags import Flags
from modules.launch import hardware, smoke, stamp, venv, wheels
from modules.launch.install import Installer, custom_build, variables
from modules.launch.say import say
from modules.launch.stamp import Stamp
from modules.launch.venv import Contents, Environment
from modules.launch.wheels import Choice

# In the environment's folder, but not on its path: only tests/reference looks into it.
REFERENCE_FOLDER = "webui-reference"


@dataclass(frozen=True)
class Setup:
    """Brings one environment to what the repository asks for.

    Args:
        root: The repository.
        environment: Where to install.
        flags: The command line.
        env: The variables of `webui-user`.
    """

    root: Path
    environment: Environment
    flags: Flags
    env: Mapping[str, str]

    @property
    def requirements(self) -> Path:
        """The file of what to install: `requirements.txt`, or the user's REQS_FILE."""
        return self.root / (variables(self.env)[2] or "requirements.txt")

    @property
    def constraints(self) -> Path | None:
        """The lock; a requirements file of the user's own is installed without it."""
        return None if variables(self.env)[2] else self.root / "constraints.txt"

    def fingerprint(self) -> str:
        """Return a hash of all that the set-up depends on."""
        command, index, _ = variables(self.env)
        files = [self.requirements, *([self.constraints] if self.constraints else [])]
        return stamp.fingerprint(files, wheels.TORCH_VERSION, command, index)

    def is_current(self) -> bool:
        """Return whether nothing needs to be done. Runs no pip and uses no network."""
        if self.flags.reinstall_torch:
            return False
        left = stamp.read_stamp(self.environment.folder)
        if left is None or left.fingerprint != self.fingerprint():
            return False
        contents = venv.inspect(self.environment)
        return contents is not None and contents.python == left.python

    def run(self) -> Stamp:
        """Do what is missing and return the stamp that was left.

        Raises:
            UserError: something could not be installed; what was installed stays.
        """
        if not self.requirements.is_file():
            raise UserError(
                f"{self.requirements} does not exist.", "REQS_FILE must name a requirements file."
            )
        choice = self._choose()
        contents = venv.ensure(self.environment)
        stamp.remove_stamp(self.environment.folder)
        if not self.flags.skip_install:
            self._install(choice, contents)
        report = self._verify(choice)
        left = Stamp(
            fingerprint=self.fingerprint(),
            python=contents.python,
            torch=report.torch,
            device=report.device,
            reason=choice.reason,
            warning=_warning(choice, report),
        )
        if left.warning:
            say(f"Note: {left.warning}")
        self._leave(left, self.environment.folder)
        return left

    def run_for_tests(self) -> None:
        """Install the test tools and the code that the tests compare with, unless they are there.

        Raises:
            UserError: the test tools could not be installed. Without the other code its tests are skipped.
        """
        if self.flags.skip_install:
            return
        python = self._contents().python
        self._install_test_tools(python)
        self._install_reference(python)

    def _install_test_tools(self, python: str) -> None:
        folder, tools = self.environment.folder, self.root / "requirements-dev.txt"
        lock = self.root / "constraints.txt"
        wanted = Stamp(stamp.fingerprint([tools, lock]), python)
        if stamp.read_stamp(folder, stamp.TEST_STAMP_NAME) == wanted:
            return
        say("Installing the test tools")
        stamp.remove_stamp(folder, stamp.TEST_STAMP_NAME)
        Installer(self.environment.python, folder, lock).requirements(tools, "")
        self._leave(wanted, folder, stamp.TEST_STAMP_NAME)

    def _install_reference(self, python: str) -> None:
        folder = self.environment.folder / REFERENCE_FOLDER
        packages = self.root / "requirements-reference.txt"
        wanted = Stamp(stamp.fingerprint([packages]), python)
        if stamp.read_stamp(folder) == wanted:
            return
        say("Installing the original code that tests/reference compares with")
        installer = Installer(self.environment.python, self.environment.folder, None)
        if installer.apart(packages, folder):
            self._leave(wanted, folder)
        else:
            say("Note: it cannot be had, the lines above say why. Its tests are skipped.")

    def _choose(self) -> Choice:
        command, index, _ = variables(self.env)
        if command:
            choice = Choice(custom_build(""), "TORCH_COMMAND says so")
        elif index:
            choice = Choice(custom_build(index), "TORCH_INDEX_URL says so")
        else:
            choice = wheels.choose(hardware.probe())
            say(f"PyTorch {wheels.TORCH_VERSION} for {choice.build.label}: {choice.reason}.")
        return choice

    def _install(self, choice: Choice, contents: Contents) -> None:
        installer = Installer(self.environment.python, self.environment.folder, self.constraints)
        command, force = variables(self.env)[0], self.flags.reinstall_torch
        if command:
            installer.torch_by_command(command)
        else:
            installer.torch(choice.build, contents.torch, force=force)
        say(f"Installing what {self.requirements.name} names")
        installer.requirements(self.requirements, self._contents().torch)

    def _verify(self, choice: Choice) -> smoke.Report:
        device = choice.build.device
        if self.flags.skip_torch_cuda_test:
            return smoke.Report(self._contents().torch, "" if device == "auto" else device)
        say("Trying PyTorch")
        report = self._smoke(device)
        if not report.problem:
            return report
        problem = f"{choice.build.label} cannot be used: {report.problem}"
        if not report.torch and choice.build.index and device != "cpu":
            say(f"{problem}. Installing PyTorch for the CPU instead.")
            installer = Installer(self.environment.python, self.environment.folder, None)
            installer.torch(wheels.cpu_build(hardware.probe()), "", force=True)
        fallback = self._smoke("cpu")
        if fallback.problem:
            raise UserError(
                f"PyTorch does not work here: {fallback.problem}.",
                "Start once with --reinstall-torch, or delete the venv folder and start again.",
            )
        warning = f"Pictures are made on the CPU, slowly: {problem}."
        return smoke.Report(fallback.torch, "cpu", warning)

    def _smoke(self, device: str) -> smoke.Report:
        number = self.flags.device_id or 0
        return smoke.run(self.environment.python, self.root, device, number)

    def _contents(self) -> Contents:
        return venv.inspect(self.environment) or Contents("", has_pip=False, torch="")

    def _leave(self, left: Stamp, folder: Path, name: str = stamp.STAMP_NAME) -> None:
        try:
            stamp.write_stamp(folder, left, name)
        except OSError as error:
            say(f"The next start will check everything again: {error}.")


def _warning(choice: Choice, report: smoke.Report) -> str:
    remark = f"{choice.build.label}: {report.remark}." if report.remark else ""
    return report.problem or choice.warning or remark
