"""Settings on disk: only what differs from the defaults, written whole or not at all."""

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

# Rises when an option's meaning changes, so that a later version can tell how old a file is.
SCHEMA_VERSION = 1
_VERSION_KEY = "webui_settings_version"


class SettingsFile:
    """`config.json` in the data folder.

    Args:
        path: The file.

    Attributes:
        warning: What a user should know of the last reading; empty when all was well.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self.warning = ""

    def read(self) -> Settings:
        """Return the stored settings.

        An unreadable file is put aside and the defaults are taken; so is the default of a single option whose value
        is not valid here. `remark` then says so.
        """
        self.warning = ""
        try:
            stored: Any = json.loads(self.path.read_text(encoding="utf-8"))
            if not isinstance(stored, dict):
                raise ValueError("it holds no JSON object")
        except FileNotFoundError:
            return Settings()
        except (OSError, ValueError, RecursionError) as error:
            self._move_aside(error)
            return Settings()
        values = cast("dict[str, Any]", stored)
        known = {  # A1111 writes null for what was never chosen
            key: value
            for key, value in values.items()
            if key in Settings.model_fields and value is not None
        }
        try:
            return Settings.model_validate(known)
        except ValidationError as error:
            wrong = {str(found["loc"][0]) for found in error.errors()}
            self._warn(
                f"{self.path.name} holds values that are not valid here; these options stand at their defaults: "
                f"{', '.join(sorted(wrong))}."
            )
            return Settings.model_validate({k: v for k, v in known.items() if k not in wrong})

    def _move_aside(self, error: Exception) -> None:
        aside = self.path.with_suffix(".json.unreadable")
        kept = f"it is kept as {aside.name}"
        try:
            self.path.replace(aside)
        except OSError:
            kept = "it could not be renamed"
        self._warn(
            f"{self.path.name} could not be read ({error}); {kept}, and all options stand at their defaults."
        )

    def _warn(self, remark: str) -> None:
        self.warning = remark
        logger.warning("%s", remark)

    def update(self, changes: Mapping[str, Any]) -> None:
        """Store changed options beside the remembered ones: what holds for this run alone is not stored."""
        with self._lock:
            self.write(self.read().replace(**changes))

    def write(self, settings: Settings) -> None:
        """Store what differs from the defaults; other programs' keys in the file are kept."""
        changed = settings.model_dump(exclude_defaults=True)
        values = {**self._foreign_keys(), _VERSION_KEY: SCHEMA_VERSION, **changed}
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_text(self.path, json.dumps(values, indent=4, ensure_ascii=False))
        except OSError as error:
            logger.warning("The settings could not be stored in %s: %s.", self.path, error)

    def _foreign_keys(self) -> dict[str, Any]:
        """Return what an A1111 config.json holds beside our settings, so that nothing of it is lost."""
        try:
            stored: Any = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        if not isinstance(stored, dict):
            return {}
        values = cast("dict[str, Any]", stored)
        return {key: value for key, value in values.items() if key not in Settings.model_fields}
