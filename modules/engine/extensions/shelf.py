"""What the Extensions tab shows and does: every extension on disk with its state now and at the next start."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from modules.core.errors import NotFound, UserError
from modules.core.paths import Paths
from modules.engine.downloads.downloads import Downloads
from modules.engine.extensions.choice import ExtensionChoice
from modules.engine.extensions.clone import git_environment
from modules.engine.extensions.install import Installed, Installer, requirements_command
from modules.engine.extensions.record import ExtensionProblem, ExtensionRecord
from modules.engine.extensions.sources import ExtensionSource, find_extensions
from modules.engine.settings_file import SettingsFile


@dataclass(frozen=True)
class ExtensionRow:
    """One line of the list.

    Args:
        source: Where it is.
        state: loaded, failed, disabled; "installed" since the start, or "removed" since then.
        reason: Why it is disabled.
        is_enabled: Whether the next start loads it.
        adds: What it has registered.
        seconds: How long it took to load.
        problems: Its errors.
        needs: The command that installs the packages that it lists.
    """

    source: ExtensionSource
    state: str
    reason: str
    is_enabled: bool
    adds: tuple[str, ...]
    seconds: float
    problems: tuple[ExtensionProblem, ...]
    needs: str

    @property
    def waits_for_restart(self) -> bool:
        """Return whether the next start changes something about it."""
        if self.state in ("installed", "removed"):
            return self.is_enabled
        return self.is_enabled == (self.state == "disabled")


class ExtensionShelf:
    """Lists, enables, installs and removes extensions.

    Args:
        paths: Their folders.
        records: What became of each at this start.
        settings_file: Keeps which are disabled.
        downloads: Tells whether anything may be downloaded, and by which proxy.
    """

    def __init__(
        self,
        paths: Paths,
        records: list[ExtensionRecord],
        settings_file: SettingsFile,
        downloads: Downloads,
    ) -> None:
        self._paths = paths
        self._records = records
        self.choice = ExtensionChoice(settings_file)
        self._downloads = downloads
        self._installer = Installer(paths)

    def rows(self) -> list[ExtensionRow]:
        """Return all extensions: those of the start, and what has been installed since."""
        disabled, are_off = self.choice.disabled(), self.choice.all_are_disabled()
        found = {source.id: source for source in find_extensions(self._paths).sources}
        known = {record.source.id: record for record in self._records}
        rows: list[ExtensionRow] = []
        for name in dict.fromkeys((*known, *found)):
            record = known.get(name) or ExtensionRecord(found[name], "disabled")
            state = record.state if name in known else "installed"
            source = found.get(name, record.source)
            folder = source.path if source.kind == "folder" else None
            rows.append(
                ExtensionRow(
                    source,
                    state if name in found else "removed",
                    record.reason,
                    name not in disabled and not are_off,
                    record.adds,
                    record.seconds,
                    tuple(record.problems),
                    requirements_command(folder) if folder is not None else "",
                )
            )
        return rows

    def set_enabled(self, extension_id: str, is_enabled: bool) -> None:
        """Enable or disable an extension for the next start.

        Raises:
            NotFound: there is none of that id.
            StorageError: it cannot be stored.
        """
        self.choice.set_enabled(self._find(extension_id).id, is_enabled)

    def install_folder(self, path: str) -> Installed:
        """Install a copy of a folder of this machine; see `Installer`."""
        return self._installer.install_folder(Path(path.strip()))

    def install_file(self, name: str, file: IO[bytes]) -> Installed:
        """Install a zip or a script; see `Installer`."""
        return self._installer.install_file(name, file)

    def install_git(self, address: str) -> Installed:
        """Install a clone of a git repository; see `Installer`.

        Raises:
            UserError: downloads are off.
        """
        if not self._downloads.is_allowed:
            raise UserError(
                "This server was started with --no-downloads.",
                "Download the extension elsewhere, and install it as a zip.",
            )
        environment = git_environment(os.environ, self._downloads.web.proxy)
        return self._installer.install_git(address, environment)

    def remove(self, extension_id: str) -> Path:
        """Move an extension into the trash next to it, and return where it is now.

        Raises:
            NotFound: there is none of that id.
            UserError: it is a package, which pip removes.
            StorageError: the disk refuses.
        """
        source = self._find(extension_id)
        if source.path is None:
            raise UserError(
                f"'{source.name}' is a package of the environment.",
                f"Remove it with: pip uninstall {source.distribution}",
            )
        return self._installer.remove(source.path)

    def assets(self, extension_id: str) -> Path:
        """Return the folder whose files a loaded extension serves.

        Raises:
            NotFound: there is no such extension, or it has no such folder.
        """
        for record in self._records:
            if record.source.id == extension_id and record.assets is not None:
                return record.assets
        raise NotFound(f"There is no extension named '{extension_id}' that serves files.")

    def _find(self, extension_id: str) -> ExtensionSource:
        for source in find_extensions(self._paths).sources:
            if source.id == extension_id:
                return source
        raise NotFound(f"There is no extension '{extension_id}'.", "Reload the list.")
