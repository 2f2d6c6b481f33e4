"""A file of a network as lists show it, and the disk cache of the facts from its header."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from modules.models.file_cache import (
    SHA256,
    check_size,
    check_type,
    parse_stamp,
    read_entries,
    write_entries,
)
from modules.models.files.scan import FileStamp, ModelFile

_FORMAT = 1  # of the cache; raised when a fact is computed differently


class NetworkFacts(NamedTuple):
    """Facts from the header of a network's file.

    Args:
        family: Of the checkpoints that it was made for, such as "SDXL"; "" where the file does not say.
        error: Why it cannot be used, in a sentence, or "".
        alias: The name that its trainer gave it, "" for none.
        stored_hash: The hash that its metadata states, "" for none.
        data_start: Byte at which its hash begins: after the header of a .safetensors file.
        has_bundle: Whether it holds embeddings as well.
        has_cover: Whether its metadata hold a picture.
    """

    family: str = ""
    error: str = ""
    alias: str = ""
    stored_hash: str = ""
    data_start: int = 0
    has_bundle: bool = False
    has_cover: bool = False


@dataclass(frozen=True)
class NetworkFile(ModelFile):
    """A file of a network; prompts name it by its stem.

    Args:
        kind: Name of its row of KINDS.
        facts: From its header.
    """

    kind: str
    facts: NetworkFacts = field(repr=False)

    @property
    def network_name(self) -> str:
        """Return the name that prompts use: of the file, without folder and extension."""
        return self.stem

    @property
    def alias(self) -> str:
        """Return the other name that prompts may use, as A1111 does; the same one without an alias."""
        return self.facts.alias or self.network_name

    @property
    def folder(self) -> str:
        """Return the folder below that of its kind, "" for none."""
        return self.name.rpartition("/")[0]


class NetworkFactsCache:
    """Facts of the files of one kind that were listed last.

    Args:
        file: JSON file, created on the first write.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._facts: dict[FileStamp, NetworkFacts] | None = None

    def read(self) -> Mapping[FileStamp, NetworkFacts]:
        """Return the cached facts."""
        if self._facts is None:
            self._facts = read_entries(self._file, _parse)
        return self._facts

    def write(self, facts: Mapping[FileStamp, NetworkFacts]) -> None:
        """Replace the cached facts by these."""
        if facts == self._facts:
            return
        self._facts = dict(facts)
        rows: Sequence[Any] = [[*stamp, *fact] for stamp, fact in facts.items()]
        write_entries(self._file, {"format": _FORMAT, "files": rows}, _parse)


def _parse(content: Any) -> dict[FileStamp, NetworkFacts]:
    if content["format"] != _FORMAT:
        return {}
    return dict(map(_parse_row, check_type(content["files"], list)))


def _parse_row(row: Any) -> tuple[FileStamp, NetworkFacts]:
    path, size, modified, family, error, alias, stored_hash, data_start, *flags = row
    family, error, alias = (check_type(text, str) for text in (family, error, alias))
    if stored_hash and not SHA256.fullmatch(stored_hash):
        raise ValueError("a hash that is none")
    has_bundle, has_cover = (check_type(flag, bool) for flag in flags)
    facts = NetworkFacts(
        family, error, alias, stored_hash, check_size(data_start), has_bundle, has_cover
    )
    return parse_stamp(path, size, modified), facts
