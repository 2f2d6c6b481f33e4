"""Which extensions are loaded at the next start: A1111's keys in `config.json`, and a mark against those that end the program."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Generator
from pathlib import Path
from typing import Any, cast

import psutil

from modules.engine.settings_file import SettingsFile

_DISABLED = "disabled_extensions"
_ALL = "disable_all_extensions"  # "none", "extra" or "all"; what is built in here is no extension


class ExtensionChoice:
    """What the user has disabled. A change counts from the next start on.

    Args:
        file: The settings; the engine and this share one for a file, which has a lock.
    """

    def __init__(self, file: SettingsFile) -> None:
        self._file = file

    def disabled(self) -> frozenset[str]:
        """Return the ids of the disabled extensions."""
        stored = self._file.other_value(_DISABLED)
        names = cast("list[Any]", stored) if isinstance(stored, list) else []
        return frozenset(name for name in names if isinstance(name, str))

    def all_are_disabled(self) -> bool:
        """Return whether none is loaded, as A1111's "Disable all extensions" says."""
        return self._file.other_value(_ALL) in ("extra", "all")

    def set_enabled(self, extension_id: str, is_enabled: bool) -> None:
        """Enable or disable one.

        Raises:
            StorageError: it cannot be stored.
        """
        others = self.disabled() - {extension_id}
        names = others if is_enabled else others | {extension_id}
        self._file.set_other_value(_DISABLED, sorted(names))

    def set_all_disabled(self, are_disabled: bool) -> None:
        """Disable all of them, or let each count by itself.

        Raises:
            StorageError: it cannot be stored.
        """
        self._file.set_other_value(_ALL, "all" if are_disabled else "none")


class LoadingMark:
    """A file that names the extension being loaded: where it is left behind, that one has ended the program.

    Args:
        path: The file; None keeps no mark.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path

    def take_culprit(self) -> str:
        """Return the id of the extension that ended the last start, and remove the mark; "" without one."""
        if self._path is None:
            return ""
        try:
            mark: Any = json.loads(self._path.read_text(encoding="utf-8"))
            name, pid, began = str(mark["id"]), int(mark["pid"]), float(mark["began"])
        except (OSError, ValueError, KeyError, TypeError):
            return ""
        if pid != os.getpid() and _runs(pid, began):  # another server on this folder is at it
            return ""
        self._remove()
        return name

    @contextlib.contextmanager
    def over(self, extension_id: str) -> Generator[None]:
        """Keep the mark while an extension is loaded; any end but that of the process removes it."""
        if self._path is not None:
            began = psutil.Process().create_time()
            mark = {"id": extension_id, "pid": os.getpid(), "began": began}
            with contextlib.suppress(OSError):  # without a mark it is loaded all the same
                self._path.parent.mkdir(parents=True, exist_ok=True)
                self._path.write_text(json.dumps(mark), encoding="utf-8")
        try:
            yield
        finally:
            self._remove()

    def _remove(self) -> None:
        if self._path is not None:
            with contextlib.suppress(OSError):
                self._path.unlink(missing_ok=True)


def _runs(pid: int, began: float) -> bool:
    try:
        return psutil.Process(pid).create_time() == began
    except psutil.Error:
        return False
