"""A control model's file as lists show it, and the disk cache of the facts from its header."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from modules.models.control.layouts import CONTROL_LAYOUTS, CONTROLNET_LAYOUTS, IP_ADAPTER
from modules.models.file_cache import (
    check_size,
    check_type,
    parse_stamp,
    read_entries,
    write_entries,
)
from modules.models.files.scan import FileStamp, ModelFile

_FORMAT = 2  # of the cache; raised when a fact is computed differently
_HASH_START, _HASH_BYTES, _HASH_DIGITS = 0x100000, 0x10000, 8


class ControlFacts(NamedTuple):
    """Facts from the header of a control model's file.

    Args:
        layout: Name of its row of CONTROL_LAYOUTS; "" for a file that is no control model.
        family: See `ControlBase`.
        context_width: Likewise.
        output_count: How many outputs it has that a unit can weigh; 0 for models without such.
        short_hash: A1111's first hash of a file, by which sd-webui-controlnet lists it.
        error: Why it cannot be used, in a sentence, or "".
    """

    layout: str = ""
    family: str = ""
    context_width: int = 0
    output_count: int = 0
    short_hash: str = ""
    error: str = ""


@dataclass(frozen=True)
class ControlModel(ModelFile):
    """A file of a control model.

    Args:
        facts: From its header.
    """

    facts: ControlFacts = field(repr=False)

    @property
    def title(self) -> str:
        """Return its name as sd-webui-controlnet lists it: "control_v11p_sd15_canny [d14c016b]"."""
        return f"{self.stem} [{self.facts.short_hash}]"

    @property
    def layout(self) -> str:
        """Return the name of its row of CONTROL_LAYOUTS."""
        return self.facts.layout

    @property
    def family(self) -> str:
        """Return the family of the checkpoints that it was made for; "" where it fits several."""
        return self.facts.family

    @property
    def is_controlnet(self) -> bool:
        """Return whether it is a copy of a UNet's encoder half, whose outputs are added to those of the UNet."""
        return self.layout in CONTROLNET_LAYOUTS

    @property
    def takes_several(self) -> bool:
        """Return whether one unit may show it several pictures."""
        return self.layout == IP_ADAPTER

    def fits(self, family: str, context_width: int) -> bool:
        """Return whether it fits a checkpoint.

        Args:
            family: `Family.network_family` of the checkpoint.
            context_width: Width of the text that its UNet attends to; 0 if unknown.
        """
        if self.family not in ("", family):
            return False
        widths = (self.facts.context_width, context_width)
        return 0 in widths or widths[0] == widths[1]


def short_hash(path: Path) -> str:
    """Return A1111's first hash of a file: of 64 KiB after its first MiB.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        file.seek(_HASH_START)
        return hashlib.sha256(file.read(_HASH_BYTES)).hexdigest()[:_HASH_DIGITS]


class ControlFactsCache:
    """Facts of the files that were listed last.

    Args:
        file: JSON file, created on the first write.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._facts: dict[FileStamp, ControlFacts] | None = None

    def read(self) -> Mapping[FileStamp, ControlFacts]:
        """Return the cached facts; none if the layouts have changed since they were stored."""
        if self._facts is None:
            self._facts = read_entries(self._file, _parse)
        return self._facts

    def write(self, facts: Mapping[FileStamp, ControlFacts]) -> None:
        """Replace the cached facts by these."""
        if facts == self._facts:
            return
        self._facts = dict(facts)
        rows = [[*stamp, *fact] for stamp, fact in facts.items()]
        write_entries(self._file, {"layouts": _digest(), "files": rows}, _parse)


def _digest() -> str:
    conditions = [(row.name, row.conditions) for row in CONTROL_LAYOUTS]
    return hashlib.sha256(repr((_FORMAT, conditions)).encode()).hexdigest()


def _parse(content: Any) -> dict[FileStamp, ControlFacts]:
    if content["layouts"] != _digest():
        return {}
    return dict(map(_parse_row, check_type(content["files"], list)))


def _parse_row(row: Any) -> tuple[FileStamp, ControlFacts]:
    path, size, modified, layout, family, width, outputs, digest, error = row
    if layout not in ("", *(known.name for known in CONTROL_LAYOUTS)):
        raise ValueError("an unknown layout")
    facts = ControlFacts(
        layout,
        check_type(family, str),
        check_size(width),
        check_size(outputs),
        check_type(digest, str),
        check_type(error, str),
    )
    return parse_stamp(path, size, modified), facts
