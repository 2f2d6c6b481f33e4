"""NETWORK_KINDS: the kinds of networks that a prompt can add, with how the header of each is read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from modules.models.files.header import Header, read_header
from modules.models.kinds import Detection
from modules.models.networks.lora_facts import read_lora_facts
from modules.models.networks.network_file import NetworkFacts

LORA = "LoRA"
LORA_TAGS = ("lora", "lyco")
Detect = Callable[[Header], Detection]


@dataclass(frozen=True)
class NetworkKind:
    """One row of NETWORK_KINDS.

    Args:
        name: Of its row of KINDS, which names folders and suffixes.
        read_facts: Returns the facts of a file; raises WebUIError where it cannot be read.
        tags: Words of prompt tags such as `<lora:name:1>`; none where the name alone is written.
    """

    name: str
    read_facts: Callable[[Path, Detect], NetworkFacts]
    tags: tuple[str, ...] = ()


def _read_lora(path: Path, detect: Detect) -> NetworkFacts:
    header = read_header(path)
    facts = read_lora_facts(header, path.name)
    kind = detect(header).kind if facts.error else None  # it takes as long as all else
    if kind is not None and kind.name != LORA:
        return facts._replace(error=f"'{path.name}' {kind.misplaced.format(expected='a LoRA')}")
    return facts


NETWORK_KINDS: tuple[NetworkKind, ...] = (NetworkKind(LORA, _read_lora, LORA_TAGS),)
