"""Settings on disk: only values that differ from the defaults, written atomically."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError

from modules.core.atomic import write_bytes
from modules.core.errors import StorageError
from modules.core.user_files import decode_text, move_aside
from modules.params.settings import Settings

logger = logging.getLogger(__name__)

# Increases when an option's meaning changes, so that a later version knows how old a file is.
SCHEMA_VERSION = 1
_VERSION_KEY = "webui_settings_version"


class SettingsFile:
    """`config.json` in the data folder.

    Args:
        path: The file.
        settings_class: Declares the options.

    Attributes:
        warning: The problem of the last read, for the user; empty if there was none.
    """

    def __init__(self, path: Path, settings_class: type[Settings] = Settings) -> None:
        self.path = path
        self._settings_class = settings_class
        self._lock = threading.Lock()
        self._is_unreadable = False  # and still in its place
        self.warning = ""

    def read(self) -> Settings:
        """Return the stored settings.

        An unreadable file is moved aside and the defaults are used; an option with an invalid value gets its default,
        and the value stays in the file until the option is changed. `warning` then says so.
        """
        with self._lock:
            self.warning = ""
            settings, invalid = self._validate(self._load())
        if invalid:
            self._warn(
                f"{self.path.name} contains invalid values; these options have their defaults: "
                f"{', '.join(sorted(invalid))}."
            )
        return settings

    def update(self, changes: Mapping[str, Any]) -> None:
        """Merge changed options into the stored ones; options of this run alone are not stored.

        What the file has for other programs, and values of other options that are not valid here, is preserved.

        Raises:
            StorageError: the disk is full, read-only or unreachable; the file is unchanged.
        """
        with self._lock:
            stored = self._load()
            settings, invalid = self._validate(stored)
            kept = {name: stored[name] for name in invalid if name not in changes}
            self._write(stored, settings.replace(**changes), kept)

    def write(self, settings: Settings) -> None:
        """Store what differs from the defaults; keys of other programs in the file are preserved.

        Raises:
            StorageError: the disk is full, read-only or unreachable; the file is unchanged.
        """
        with self._lock:
            self._write(self._load(), settings, {})

    def other_value(self, key: str) -> Any:  # JSON: anything
        """Return what the file has under a key that is no option; None without one, or if the file cannot be read."""
        try:
            with self._lock:
                return self._parse().get(key)
        except (OSError, ValueError, RecursionError):  # the engine's read reports it
            return None

    def set_other_value(self, key: str, value: object) -> None:
        """Store a value under a key that is no option, such as which extensions are disabled.

        Raises:
            StorageError: the disk is full, read-only or unreachable; the file is unchanged.
        """
        with self._lock:
            stored = self._load()
            settings, invalid = self._validate(stored)
            kept = {name: stored[name] for name in invalid}
            self._write({**stored, key: value}, settings, kept)

    def _parse(self) -> dict[str, Any]:
        text, _ = decode_text(self.path.read_bytes())
        stored: Any = json.loads(text)
        if not isinstance(stored, dict):
            raise ValueError("it contains no JSON object")
        return cast("dict[str, Any]", stored)

    def _load(self) -> dict[str, Any]:
        """Return the content of the file; none if there is none, or if it was unreadable and has been moved aside."""
        self._is_unreadable = False
        try:
            return self._parse()
        except FileNotFoundError:
            return {}
        except (OSError, ValueError, RecursionError) as error:
            self._move_aside(error)
            return {}

    def _validate(self, stored: Mapping[str, Any]) -> tuple[Settings, set[str]]:
        """Return the options in a file, and the names of those whose value is not valid."""
        known = {  # A1111 writes null for options that were never set
            key: value
            for key, value in stored.items()
            if key in self._settings_class.model_fields and value is not None
        }
        try:
            return self._settings_class.model_validate(known), set()
        except ValidationError as error:
            invalid = {str(details["loc"][0]) for details in error.errors()}
            valid = {key: value for key, value in known.items() if key not in invalid}
            return self._settings_class.model_validate(valid), invalid

    def _move_aside(self, error: Exception) -> None:
        try:
            outcome = f"it is kept as {move_aside(self.path).name}"
        except OSError:
            self._is_unreadable = True
            outcome = "it could not be renamed"
        self._warn(
            f"{self.path.name} could not be read ({error}); {outcome}, and all options have their defaults."
        )

    def _warn(self, warning: str) -> None:
        self.warning = warning
        logger.warning("%s", warning)

    def _write(
        self, stored: Mapping[str, Any], settings: Settings, invalid: Mapping[str, Any]
    ) -> None:
        own = self._settings_class.model_fields
        foreign = {key: value for key, value in stored.items() if key not in own}
        changed = settings.model_dump(exclude_defaults=True)
        values = {**foreign, _VERSION_KEY: SCHEMA_VERSION, **invalid, **changed}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if self._is_unreadable:  # it could not even be renamed
                raise OSError("it could not be read, and is left as it is")
            write_bytes(self.path, _encode(values))
        except OSError as error:
            raise StorageError(
                f"The settings apply until the server stops, but could not be stored in {self.path}: "
                f"{error.strerror or error}.",
                "Free some space or check the file's permissions, and change them again.",
            ) from error


def _encode(values: Mapping[str, Any]) -> bytes:
    """Return JSON in UTF-8; half a character, from another program's option, is escaped."""
    try:
        return json.dumps(values, indent=4, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        return json.dumps(values, indent=4).encode("ascii")
