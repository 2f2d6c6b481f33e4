"""The rows of a `styles.csv` in the forms in which spreadsheets and other programs save it."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from modules.core.user_files import decode_text

COLUMNS = ("name", "prompt", "negative_prompt")
_DELIMITERS = (",", ";", "\t", "|")
# Python's csv module refuses a cell above 131,072 characters unless its limit is raised.
_MAX_CELL_LENGTH = 2**31 - 1


@dataclass
class StyleTable:
    """A table of styles, its foreign columns included.

    Args:
        header: Names of the columns; those of COLUMNS are spelled as there.
        rows: The cells of each row.
        problem: Why a part of the file was not understood; empty when all of it was.
    """

    header: list[str] = field(default_factory=lambda: list(COLUMNS))
    rows: list[list[str]] = field(default_factory=list[list[str]])
    problem: str = ""

    def cell(self, row: Sequence[str], column: str) -> str:
        """Return a cell of a row; empty where the row or the table is too short."""
        index = self.header.index(column) if column in self.header else len(row)
        return row[index] if index < len(row) else ""

    def set_cells(self, row: list[str], values: Iterable[str]) -> None:
        """Set the cells of COLUMNS in a row; the table gets the columns that it lacks."""
        for column, value in zip(COLUMNS, values, strict=True):
            if column not in self.header:
                self.header.append(column)
            index = self.header.index(column)
            row.extend([""] * (index + 1 - len(row)))
            row[index] = value

    def to_csv(self) -> bytes:
        """Return the table as A1111 writes it: commas, in UTF-8 with a BOM.

        Raises:
            UnicodeEncodeError: a text holds half a character.
        """
        text = io.StringIO(newline="")
        writer = csv.writer(text)
        writer.writerow(self.header)
        width = len(self.header)
        writer.writerows([*row, *[""] * (width - len(row))] for row in self.rows)
        return text.getvalue().encode("utf-8-sig")


def parse_style_table(data: bytes) -> StyleTable:
    """Return the table in a file as far as it is understood; the caller makes sure that only one thread parses.

    Cells may be separated by commas, semicolons, tabs or bars, the header may be missing or in capitals, and the text
    may be in UTF-8, UTF-16 or cp1252.
    """
    text, is_certain = decode_text(data)
    problem = "" if is_certain else "its encoding is neither UTF-8 nor UTF-16"
    delimiters = _DELIMITERS
    first_line, _, rest = text.partition("\n")
    if first_line.strip().strip('"').lower().startswith("sep="):  # Excel's hint on the separator
        delimiters = (first_line.strip().strip('"')[4:5] or ",",)
        text = rest
    if not text.strip():
        return StyleTable(problem=problem)
    tables = [_parse(text, delimiter) for delimiter in delimiters if delimiter != '"']
    table = next((table for table in tables if "name" in table.header), None)
    if table is None:
        table = _without_header(tables)
    table.problem = problem or table.problem
    return table


def _parse(text: str, delimiter: str) -> StyleTable:
    """Return the table read with one delimiter, its header empty if the first row is none."""
    problem = ""
    try:
        rows = _read(text, delimiter, strict=True)
    except csv.Error as error:
        problem = f"a line is malformed ({error})"
        try:
            rows = _read(text, delimiter, strict=False)
        except csv.Error:
            rows = []
    header = _spell_columns(rows[0]) if rows else []
    if "name" not in header:
        return StyleTable([], rows, problem)
    return StyleTable(header, rows[1:], problem)


def _read(text: str, delimiter: str, *, strict: bool) -> list[list[str]]:
    limit = csv.field_size_limit(_MAX_CELL_LENGTH)
    try:
        lines = io.StringIO(text, newline="")
        return [row for row in csv.reader(lines, delimiter=delimiter, strict=strict) if row]
    finally:
        csv.field_size_limit(limit)


def _spell_columns(cells: Sequence[str]) -> list[str]:
    """Return a header in which the columns of COLUMNS are spelled as there, each at most once."""
    spelled = ["_".join(cell.lower().replace("-", " ").replace("_", " ").split()) for cell in cells]
    header = list(cells)
    for column, names in (
        ("name", ("name",)),
        ("prompt", ("prompt", "text")),  # A1111's oldest files call the prompt "text"
        ("negative_prompt", ("negative_prompt", "negativeprompt")),
    ):
        index = next((spelled.index(name) for name in names if name in spelled), None)
        if index is not None:
            header[index] = column
    return header


def _without_header(tables: Sequence[StyleTable]) -> StyleTable:
    """Return the table whose rows all have three cells, or else two; none of it is understood otherwise."""
    for width in (3, 2):
        for table in tables:
            if {len(row) for row in table.rows} == {width}:
                return StyleTable(list(COLUMNS), table.rows, table.problem)
    return StyleTable(problem="it has no column 'name'")
