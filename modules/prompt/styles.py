"""Saved prompt styles, in A1111's `styles.csv`."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from pathlib import Path

from modules.core.atomic import open_writer
from modules.core.errors import NotFound, StorageError, UserError
from modules.core.registry import did_you_mean
from modules.core.user_files import copy_aside
from modules.prompt.style_table import COLUMNS, StyleTable, parse_style_table

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Style:
    """A named pair of prompts."""

    name: str
    prompt: str = ""
    negative_prompt: str = ""


class Styles:
    """The styles in one file, read again on every access because users edit it by hand. Thread-safe.

    Args:
        path: The file, which need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()

    def all(self) -> list[Style]:
        """Return the styles in the file's order, as far as it is understood; of one name the last counts.

        Raises:
            StorageError: the file exists and cannot be read.
        """
        table = self._read()
        styles = (Style(*(table.cell(row, column) for column in COLUMNS)) for row in table.rows)
        return list({style.name: style for style in styles if style.name}.values())

    def names(self) -> list[str]:
        """Return the names in the file's order; when it cannot be read, log a warning and return none."""
        try:
            return [style.name for style in self.all()]
        except StorageError as error:
            logger.warning("%s", error)
            return []

    def get(self, name: str) -> Style:
        """Return the style of that name.

        Raises:
            NotFound: there is none; the message suggests the nearest names.
            StorageError: the file cannot be read.
        """
        styles = {style.name: style for style in self.all()}
        if name not in styles:
            raise NotFound(f"There is no style named '{name}'.", did_you_mean(name, styles))
        return styles[name]

    def save(self, style: Style) -> str:
        """Add a style, or replace the style of the same name; return a sentence if a part of the file was kept aside.

        Raises:
            UserError: the style has no name, or a text that cannot be stored.
            StorageError: the file cannot be written; it is then unchanged.
        """
        if not style.name.strip():
            raise UserError("A style needs a name.", "Type one and save again.")
        with self._lock:
            table = self._read()
            rows = [row for row in table.rows if table.cell(row, "name") == style.name]
            if not rows:
                table.rows.append([])
                rows = table.rows[-1:]
            table.set_cells(rows[-1], (style.name, style.prompt, style.negative_prompt))
            return self._write(table)

    def delete(self, name: str) -> str:
        """Delete a style from the file; return a sentence if a part of the file was kept aside.

        Raises:
            NotFound: there is none of that name.
            StorageError: the file cannot be written; it is then unchanged.
        """
        with self._lock:
            self.get(name)
            table = self._read()
            table.rows = [row for row in table.rows if table.cell(row, "name") != name]
            return self._write(table)

    def _read(self) -> StyleTable:
        try:
            with self._lock:
                return parse_style_table(self.path.read_bytes())
        except FileNotFoundError:
            return StyleTable()
        except OSError as error:
            raise StorageError(f"{self.path} cannot be read: {error}.") from None

    def _write(self, table: StyleTable) -> str:
        remark = ""
        try:
            data = table.to_csv()
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with open_writer(self.path) as file:
                file.write(data)
                if table.problem:
                    aside = copy_aside(self.path)
                    remark = (
                        f"{self.path.name} was not understood as a whole: {table.problem}. It is kept as "
                        f"{aside.name}; copy from there what is missing."
                    )
                    logger.warning("%s", remark)
        except UnicodeEncodeError as error:
            raise UserError(
                f"The style cannot be stored: it holds {error.object[error.start]!a}, half a character.",
                "Remove it and save again.",
            ) from None
        except OSError as error:
            raise StorageError(f"The styles could not be stored: {error}.") from None
        return remark


def apply_style(prompt: str, style_prompt: str) -> str:
    """Return the prompt in place of the style's `{prompt}`, or else followed by a comma and the style."""
    if "{prompt}" in style_prompt:
        return style_prompt.replace("{prompt}", prompt)
    return ", ".join(part for part in (prompt.strip(), style_prompt.strip()) if part)
