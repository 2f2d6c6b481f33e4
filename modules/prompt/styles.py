"""Saved prompt styles, in A1111's `styles.csv`."""

from __future__ import annotations

import csv
import io
import logging
from dataclasses import dataclass
from pathlib import Path

from modules.core.atomic import write_bytes
from modules.core.errors import NotFound, StorageError, UserError
from modules.core.registry import did_you_mean

logger = logging.getLogger(__name__)

_COLUMNS = ("name", "prompt", "negative_prompt")


@dataclass(frozen=True)
class Style:
    """A named pair of prompts."""

    name: str
    prompt: str = ""
    negative_prompt: str = ""


class Styles:
    """The styles in one file, read again on every access because users edit it by hand.

    Args:
        path: The file, which need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def all(self) -> list[Style]:
        """Return the styles in the file's order; invalid lines are skipped.

        Raises:
            StorageError: the file exists and cannot be read.
        """
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise StorageError(f"{self.path} cannot be read: {error}.") from None
        return list({style.name: style for style in _parse(data)}.values())

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

    def save(self, style: Style) -> None:
        """Add a style, or replace the style of the same name.

        Raises:
            UserError: the style has no name.
            StorageError: the file cannot be written; it is then unchanged.
        """
        if not style.name.strip():
            raise UserError("A style needs a name.", "Type one and save again.")
        self._write({**{saved.name: saved for saved in self.all()}, style.name: style})

    def delete(self, name: str) -> None:
        """Delete a style from the file.

        Raises:
            NotFound: there is none of that name.
            StorageError: the file cannot be written; it is then unchanged.
        """
        self.get(name)
        self._write({style.name: style for style in self.all() if style.name != name})

    def _write(self, styles: dict[str, Style]) -> None:
        text = io.StringIO(newline="")
        writer = csv.writer(text)
        writer.writerow(_COLUMNS)
        writer.writerows(
            (style.name, style.prompt, style.negative_prompt) for style in styles.values()
        )
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            write_bytes(self.path, text.getvalue().encode("utf-8-sig"))
        except OSError as error:
            raise StorageError(f"The styles could not be stored: {error}.") from None


def apply_style(prompt: str, style_prompt: str) -> str:
    """Return the prompt in place of the style's `{prompt}`, or else followed by a comma and the style."""
    if "{prompt}" in style_prompt:
        return style_prompt.replace("{prompt}", prompt)
    return ", ".join(part for part in (prompt.strip(), style_prompt.strip()) if part)


def _parse(data: bytes) -> list[Style]:
    """Return the styles of a file in UTF-8 or cp1252; A1111's oldest files call the prompt "text"."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("cp1252", errors="replace")  # spreadsheets save as cp1252
    lines = io.StringIO(text.replace("\0", ""), newline="")
    styles: list[Style] = []
    try:
        for row in csv.DictReader(lines):
            name = row.get("name") or ""
            prompt = row.get("prompt") or row.get("text") or ""
            if name:
                styles.append(Style(name, prompt, row.get("negative_prompt") or ""))
    except csv.Error:
        pass  # return the styles before the malformed line
    return styles
