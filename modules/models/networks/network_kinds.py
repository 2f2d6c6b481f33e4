"""NETWORK_KINDS: the kinds of networks that a prompt can add, with how the header of each is read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from modules.models.files.header import Header, read_header
from modules.models.kinds import HYPERNETWORK, Detection
from modules.models.networks.hypernetworks import read_hypernetwork_facts
from modules.models.networks.lora_facts import read_lora_facts
from modules.models.networks.network_file import NetworkFacts

LORA = "LoRA"
LORA_TAGS = ("lora", "lyco")
HYPERNETWORK_TAGS = ("hypernet",)
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
    return _read_facts(path, detect, LORA, read_lora_facts)


def _read_hypernetwork(path: Path, detect: Detect) -> NetworkFacts:
    return _read_facts(path, detect, HYPERNETWORK, read_hypernetwork_facts)


def _read_facts(
    path: Path, detect: Detect, kind: str, read: Callable[[Header, str], NetworkFacts]
) -> NetworkFacts:
    """Return the facts of a file; those of another kind name where it belongs."""
    header = read_header(path)
    facts = read(header, path.name)
    other = detect(header).kind if facts.error else None
    if other is not None and other.name != kind:
        article = "an" if kind[0] in "AEIO" else "a"
        noun = kind if kind == LORA else kind.lower()
        sentence = other.misplaced.format(expected=f"{article} {noun}")
        return facts._replace(error=f"'{path.name}' {sentence}")
    return facts


NETWORK_KINDS: tuple[NetworkKind, ...] = (
    NetworkKind(LORA, _read_lora, LORA_TAGS),
    NetworkKind(HYPERNETWORK, _read_hypernetwork, HYPERNETWORK_TAGS),
)
