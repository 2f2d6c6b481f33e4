"""The official model files that the page offers, read from catalogue.json."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_FILE = Path(__file__).parent / "catalogue.json"


@dataclass(frozen=True)
class CatalogueEntry:
    """One file.

    Args:
        id: Its identity.
        name: As the page shows it.
        kind: Its row of KINDS.
        file: Its name.
        size_bytes: None where no reliable source states it.
        sha256: "" where no reliable source states it.
        licence: Name of its licence.
        config: The file in configs/ that is placed next to it as its .yaml; "" for none.
        page: Where it is described, and where a person downloads it.
        addresses: Of the file; the next one is tried when one is refused or gone.
        note: What it is good for, briefly.
    """

    id: str
    name: str
    kind: str
    file: str
    size_bytes: int | None
    sha256: str
    licence: str
    config: str
    page: str
    addresses: tuple[str, ...]
    note: str


def read_catalogue(file: Path = _FILE) -> tuple[CatalogueEntry, ...]:
    """Return the entries of a catalogue."""
    rows: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))
    for row in rows:
        row["addresses"] = tuple(row["addresses"])
    return tuple(CatalogueEntry(**row) for row in rows)
