"""Places of the declared fields of a request on the page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Row = tuple[str, ...]  # names of fields side by side


@dataclass(frozen=True)
class Section:
    """Fields under a title that opens and closes them.

    Args:
        title: The title.
        rows: The fields.
        switch: A field that is on or off, shown in the title: the others count only while it is on.
    """

    title: str
    rows: tuple[Row, ...]
    switch: str = ""


@dataclass(frozen=True)
class FormLayout:
    """The form of one tab.

    Args:
        prefix: Prefix of every element id, such as "txt2img".
        task: The row of TASKS or JOB_KINDS that it asks for.
        rows: Fields that are always in sight, in order.
        sections: Fields that are folded away.
        board: What is painted on the init image; "" paints nothing.
        overrides: Settings that have a control in this form and then apply to its jobs only.
        left_out: Sections of the request that this tab has no fields for; they keep their defaults.
        with_file_batch: Whether many images can go through the form, one after another.
        module: The module in assets that fills the tab.
    """

    prefix: str
    task: str
    rows: tuple[Row, ...]
    sections: tuple[Section, ...]
    board: Literal["", "sketch", "mask"] = ""
    overrides: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    with_file_batch: bool = False
    module: str = "generation/tab.js"

    def placed_fields(self) -> frozenset[str]:
        """Return the names of all fields that have a place."""
        rows = [*self.rows, *(row for section in self.sections for row in section.rows)]
        switches = [section.switch for section in self.sections]
        return frozenset(name for names in (*rows, switches) for name in names if name)
