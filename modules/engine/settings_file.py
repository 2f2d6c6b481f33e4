"""Settings on disk: only values that differ from the defaults, written atomically."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError

from modules.core.atomic import write_text
from modules.params.settings import Settings

logger = logging.getLogger(__name__)

# Increases when an option's meaning changes, so that a later version can tell how old a file is.
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
        self.warning = ""

    def read(self) -> Settings:
        """Return the stored settings.

        An unreadable file is moved aside and the defaults are used; an option with an invalid value gets its default.
        `warning` then says so.
        """
        self.warning = ""
        try:
            stored: Any = json.loads(self.path.read_text(encoding="utf-8"))
            if not isinstance(stored, dict):
                raise ValueError("it contains no JSON object")
        except FileNotFoundError:
            return self._settings_class()
        except (OSError, ValueError, RecursionError) as error:
            self._move_aside(error)
            return self._settings_class()
        values = cast("dict[str, Any]", stored)
        known = {  # A1111 writes null for options that were never set
            key: value
            for key, value in values.items()
            if key in self._settings_class.model_fields and value is not None
        }
        try:
            return self._settings_class.model_validate(known)
        except ValidationError as error:
            invalid = {str(details["loc"][0]) for details in error.errors()}
            self._warn(
                f"{self.path.name} contains invalid values; these options have their defaults: "
                f"{', '.join(sorted(invalid))}."
            )
            valid = {key: value for key, value in known.items() if key not in invalid}
            return self._settings_class.model_validate(valid)

    def _move_aside(self, error: Exception) -> None:
        aside = self.path.with_suffix(".json.unreadable")
        outcome = f"it is kept as {aside.name}"
        try:
            self.path.replace(aside)
        except OSError:
            outcome = "it could not be renamed"
        self._warn(
            f"{self.path.name} could not be read ({error}); {outcome}, and all options have their defaults."
        )

    def _warn(self, warning: str) -> None:
        self.warning = warning
        logger.warning("%s", warning)

    def update(self, changes: Mapping[str, Any]) -> None:
        """Merge changed options into the stored ones; options of this run alone are not stored."""
        with self._lock:
            self.write(self.read().replace(**changes))

    def write(self, settings: Settings) -> None:
        """Store what differs from the defaults; keys of other programs in the file are preserved."""
        changed = settings.model_dump(exclude_defaults=True)
        values = {**self._foreign_keys(), _VERSION_KEY: SCHEMA_VERSION, **changed}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_text(self.path, json.dumps(values, indent=4, ensure_ascii=False))
        except OSError as error:
            logger.warning("The settings could not be stored in %s: %s.", self.path, error)

    def _foreign_keys(self) -> dict[str, Any]:
        """Return the keys of an A1111 config.json that are not ours, so that none of them is lost."""
        try:
            stored: Any = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        if not isinstance(stored, dict):
            return {}
        values = cast("dict[str, Any]", stored)
        own = self._settings_class.model_fields
        return {key: value for key, value in values.items() if key not in own}
