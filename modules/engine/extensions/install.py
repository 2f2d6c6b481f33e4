"""Installs extensions into the data folder: whole or not at all, and never over one that is there."""

from __future__ import annotations

import contextlib
import re
import secrets
import shutil
import sys
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import unquote, urlsplit

from modules.core.atomic import open_writer
from modules.core.errors import BadFile, NotFound, StorageError, UserError, WebUIError
from modules.core.paths import Paths
from modules.core.text import escape
from modules.engine.downloads.names import is_safe_name
from modules.engine.extensions.archive import copy_folder, unpack_zip
from modules.engine.extensions.clone import check_address, clone
from modules.engine.extensions.sources import check_code

_MAX_SCRIPT_BYTES = 4 * 2**20
_TRASH = ".trash"
# What GitHub adds to the folder in the zip of a branch.
_BRANCH = re.compile(r"-(?:main|master)$")


@dataclass(frozen=True)
class Installed:
    """An extension that has been installed; it is loaded by the next start.

    Args:
        name: Of its folder or file.
        needs: The command that installs the packages that it lists; "" if it lists none.
    """

    name: str
    needs: str = ""


class Installer:
    """Installs and removes extensions.

    Args:
        paths: The folders of extensions.
    """

    def __init__(self, paths: Paths) -> None:
        self._paths = paths

    def install_folder(self, source: Path) -> Installed:
        """Install a copy of a folder of this machine.

        Raises:
            NotFound: there is no such folder.
            WebUIError: it is no extension, its name is taken, or it cannot be copied.
        """
        if not source.is_absolute() or not source.is_dir():
            raise NotFound(
                f"There is no folder '{escape(str(source))}'.",
                "Give its whole path, from the root on.",
            )
        source = source.resolve()
        extensions = self._paths.extensions.resolve()
        if source == extensions or source in extensions.parents or extensions in source.parents:
            raise UserError(f"'{escape(str(source))}' holds the extensions, or is one of them.")
        return self._install(source.name, lambda folder: copy_folder(source, folder))

    def install_file(self, name: str, file: IO[bytes]) -> Installed:
        """Install a zip with a folder in it, or a script.

        Args:
            name: Of the file.
            file: Its content.

        Raises:
            WebUIError: it is no extension, its name is taken, or it cannot be unpacked.
        """
        name = re.split(r"[\\/]", name)[-1]
        if name.lower().endswith(".py"):
            return self._install_script(name, file.read(_MAX_SCRIPT_BYTES + 1))
        if not name.lower().endswith(".zip"):
            raise BadFile(f"'{name}' is neither a .zip nor a .py.")
        return self._install(name[: -len(".zip")], lambda folder: unpack_zip(file, folder))

    def install_git(self, address: str, environment: Mapping[str, str]) -> Installed:
        """Install a clone of a git repository.

        Args:
            address: Of the repository.
            environment: The variables for git; see `git_environment`.

        Raises:
            WebUIError: it is no extension, its name is taken, or it cannot be cloned.
        """
        address = check_address(address)
        path = unquote(urlsplit(address).path) if "://" in address else address.rpartition(":")[2]
        name = path.rstrip("/").rpartition("/")[2].removesuffix(".git")
        return self._install(name, lambda folder: clone(address, folder / name, environment))

    def remove(self, path: Path) -> Path:
        """Move an extension into the trash next to it, and return where it is now.

        Raises:
            StorageError: the disk refuses.
        """
        target = path.parent / _TRASH / secrets.token_hex(4) / path.name
        try:
            target.parent.mkdir(parents=True)
            path.rename(target)
        except OSError as error:
            raise _storage_error(path.name, error) from error
        return target

    def _install(self, name: str, fill: Callable[[Path], None]) -> Installed:
        name = _BRANCH.sub("", name)
        self._check_name(name)
        with self._workspace(name) as folder:
            fill(folder)
            root = folder
            inner = [one for one in folder.iterdir() if one.name != "__MACOSX"]
            if len(inner) == 1 and inner[0].is_dir():
                root = inner[0]
                name = _BRANCH.sub("", root.name)
                self._check_name(name)
            _check_extension(root / "__init__.py")
            root.rename(self._paths.extensions / name)
        return Installed(escape(name), requirements_command(self._paths.extensions / name))

    def _install_script(self, name: str, data: bytes) -> Installed:
        self._check_name(name)
        target = self._paths.scripts / name
        with self._workspace(name) as folder:
            (folder / name).write_bytes(data)
            _check_extension(folder / name)
        try:
            self._paths.scripts.mkdir(exist_ok=True)
            with open_writer(target, overwrite=False) as writer:
                writer.write(data)
        except FileExistsError:
            raise _name_taken_error(name) from None
        except OSError as error:
            raise _storage_error(name, error) from error
        return Installed(escape(name))

    def _check_name(self, name: str) -> None:
        if not is_safe_name(name) or name.startswith("_"):
            raise UserError(
                f"'{name}' cannot be the name of an extension.",
                "Name the folder with letters, digits, '-', '_' and '.'.",
            )
        if any(
            (folder / name).exists() for folder in (self._paths.extensions, self._paths.scripts)
        ):
            raise _name_taken_error(name)

    @contextlib.contextmanager
    def _workspace(self, name: str) -> Generator[Path]:
        """Yield an empty folder next to the extensions, which is removed with all that is still in it."""
        folder = self._paths.extensions / f".installing-{secrets.token_hex(8)}"
        try:
            folder.mkdir(parents=True)
            yield folder
        except WebUIError:
            raise
        except OSError as error:
            raise _storage_error(name, error) from error
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def requirements_command(folder: Path) -> str:
    """Return the command that installs the packages that an extension lists; "" if it lists none.

    They are not installed by the page: packages of other versions can break the program.
    """
    file = folder / "requirements.txt"
    if not file.is_file():
        return ""
    return escape(f'"{sys.executable}" -m pip install -r "{file}"')


def _check_extension(file: Path) -> None:
    try:
        check_code(file)
    except (ValueError, SyntaxError, RecursionError) as error:
        raise BadFile(f"This is no extension for this program. {error}") from error


def _name_taken_error(name: str) -> UserError:
    return UserError(
        f"There is an extension named '{name}' already.", "Remove it first; nothing is replaced."
    )


def _storage_error(name: str, error: OSError) -> StorageError:
    return StorageError(
        f"'{escape(name)}' cannot be written or moved: {error.strerror or error}.",
        "Free some space or check the permissions of the folder.",
    )
