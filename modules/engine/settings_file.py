"""Settings on disk: only what differs from the defaults, written whole or not at all."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError

from modules.params.settings import Settings

logger = logging.getLogger(__name__)


class SettingsFile:
    """`config.json` in the data folder.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self) -> Settings:
        """Return the stored settings; an unreadable file is put aside and the defaults are taken."""
        try:
            stored: Any = json.loads(self.path.read_text(encoding="utf-8"))
            if not isinstance(stored, dict):
                raise ValueError("it holds no JSON object")
            values = cast("dict[str, Any]", stored)
            known = {  # A1111 writes null for what was never chosen
                key: value
                for key, value in values.items()
                if key in Settings.model_fields and value is not None
            }
            return Settings.model_validate(known)
        except FileNotFoundError:
            return Settings()
        except (OSError, ValueError, ValidationError) as error:
            aside = self.path.with_suffix(".json.unreadable")
            logger.warning(
                "%s is unreadable (%s); starting with defaults, it is kept as %s.",
                self.path,
                error,
                aside.name,
            )
            try:
                self.path.replace(aside)
            except OSError:
                logger.warning("%s could not be renamed.", self.path)
            return Settings()

    def change(self, changes: Mapping[str, Any]) -> None:
        """Store changed options beside the remembered ones: what holds for this run alone is not stored."""
        self.write(self.read().replace(**changes))

    def write(self, settings: Settings) -> None:
        """Store what differs from the defaults; other programs' keys in the file are kept."""
        values = {**self._foreign(), **settings.model_dump(exclude_defaults=True)}
        partial = self.path.with_suffix(".json.part")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("w", encoding="utf-8") as file:
                json.dump(values, file, indent=4, ensure_ascii=False)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(self.path)
        except OSError as error:
            logger.warning("The settings could not be stored in %s: %s.", self.path, error)

    def _foreign(self) -> dict[str, Any]:
        """Return what an A1111 config.json holds beside our settings, so that nothing of it is lost."""
        try:
            stored: Any = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        if not isinstance(stored, dict):
            return {}
        values = cast("dict[str, Any]", stored)
        return {key: value for key, value in values.items() if key not in Settings.model_fields}
