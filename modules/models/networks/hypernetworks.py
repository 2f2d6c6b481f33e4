"""Hypernetworks: which widths of a UNet's attention a file changes, and which checkpoints it is for."""

from __future__ import annotations

from dataclasses import dataclass

from modules.models.checkpoint import Checkpoint
from modules.models.files.header import Header
from modules.models.files.scan import ModelFile
from modules.models.networks.network_file import NetworkFacts

# The width of the text that cross-attention reads, by family.
_CONTEXT_FAMILIES = {768: "SD 1.x", 1024: "SD 2.x", 2048: "SDXL"}


@dataclass(frozen=True)
class HypernetworkUse:
    """A hypernetwork of a pass.

    Args:
        file: Its file.
        multiplier: How much of its change is added.
    """

    file: ModelFile
    multiplier: float


def hypernetwork_widths(header: Header) -> frozenset[int]:
    """Return the widths whose keys and values the file changes; none for a file of another kind."""
    names = (name.split(".") for name in header.tensors)
    return frozenset(
        int(parts[0])
        for parts in names
        if len(parts) > 3 and parts[0].isdecimal() and parts[2].startswith("linear")
    )


def read_hypernetwork_facts(header: Header, name: str) -> NetworkFacts:
    """Return the facts of a hypernetwork's file.

    Args:
        header: Of the file.
        name: The file's, for messages.
    """
    widths = hypernetwork_widths(header)
    families = [family for width, family in _CONTEXT_FAMILIES.items() if width in widths]
    return NetworkFacts(
        families[0] if len(families) == 1 else "",
        "" if widths else f"'{name}' is no hypernetwork.",
    )


def find_hypernetwork_misfit(name: str, header: Header, checkpoint: Checkpoint) -> str:
    """Return why a checkpoint cannot use a hypernetwork, in a sentence; "" if it can.

    Args:
        name: Of its file.
        header: Of its file.
        checkpoint: Its text encoders determine the width of its texts.
    """
    widths = hypernetwork_widths(header)
    if not widths:
        return f"'{name}' is no hypernetwork."
    needed = sum(info.hidden_size for info in checkpoint.text_encoders)
    families = [family for width, family in _CONTEXT_FAMILIES.items() if width in widths]
    if not families or needed in widths:
        return ""
    return (
        f"The hypernetwork '{name}' is for {' and '.join(families)}, not for '{checkpoint.name}'."
    )
