"""One download as it is stored and shown."""

from __future__ import annotations

import json
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from modules.engine.downloads.names import shown_address

State = Literal["waiting", "running", "checking", "paused", "failed", "done"]


@dataclass
class Download:
    """One download. Only the worker changes it while it is running or checking.

    Args:
        id: Its identity, and the name of its .part file.
        addresses: Where the file is; the next one is tried when one is refused or gone.
        kind: The row of KINDS that it is to be.
        name: Of the file; "" until the server names it.
        size_bytes: None until it is known.
        sha256: "" if no reliable source states it.
        config: The file in configs/ that is placed next to it as its .yaml; "" for none.
        page: Where a person can download it by hand.
        state: What it is doing.
        received: Bytes in the .part file.
        etag: Of the content that the .part file holds the beginning of.
        error: Why it failed, in a sentence.
        note: What is worth knowing about a finished one, in a sentence.
    """

    id: str
    addresses: list[str]
    kind: str
    name: str = ""
    size_bytes: int | None = None
    sha256: str = ""
    config: str = ""
    page: str = ""
    state: State = "waiting"
    received: int = 0
    etag: str = ""
    error: str = ""
    note: str = ""

    @property
    def shown_name(self) -> str:
        """Its name, or its address as long as there is none."""
        return self.name or shown_address(self.addresses[0])

    @property
    def is_active(self) -> bool:
        """Return whether it waits, runs or is checked."""
        return self.state in ("waiting", "running", "checking")


def parse_download(row: dict[str, Any]) -> Download:
    """Return a stored download.

    Raises:
        ValueError: it is none.
        TypeError: likewise.
    """
    download = Download(**row)
    texts = [one.name for one in fields(Download) if one.type == "str"]
    is_odd = any(not isinstance(getattr(download, name), str) for name in texts)
    if is_odd or not download.id.isalnum() or download.state not in get_args(State):
        raise ValueError("a download that is none")
    if not isinstance(download.addresses, list) or not download.addresses:  # pyright: ignore[reportUnnecessaryIsInstance]
        raise ValueError("a download without an address")
    return download


def parse_downloads(text: str) -> list[Download]:
    """Return the downloads of a stored list; raise ValueError for anything else."""
    rows: list[Any] = json.loads(text)
    return [parse_download(row) for row in rows]
