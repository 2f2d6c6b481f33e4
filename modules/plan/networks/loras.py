"""Resolves the LoRA tags of a prompt, such as `<lora:name:0.8>`, to files and weights by A1111's rules."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from modules.core.registry import did_you_mean
from modules.models.families import Family
from modules.models.networks.network_file import NetworkFile
from modules.models.networks.network_index import NetworkIndex, path_name
from modules.models.networks.network_kinds import LORA, LORA_TAGS
from modules.prompt.extra_networks import BadArgument, ExtraNetwork

_MAX_RANK = 1_000_000  # no layer has as many


@dataclass(frozen=True)
class LoraUse:
    """A LoRA with its weights, as one tag names it.

    Args:
        name: As the prompt spells it.
        file: Its file.
        text_encoder: Weight of the changes to text encoders.
        unet: Weight of the changes to the UNet.
        rank: Only so many ranks of each plain LoRA layer are used, all but so many where it is negative; None uses all.
    """

    name: str
    file: NetworkFile
    text_encoder: float = 1.0
    unet: float = 1.0
    rank: int | None = None


def plan_loras(
    networks: Iterable[ExtraNetwork], index: NetworkIndex, family: Family
) -> tuple[tuple[LoraUse, ...], tuple[str, ...]]:
    """Return the LoRAs of a prompt in its order, and a note for each tag that is left out.

    As in A1111, a name that is written twice is added twice, both times with its last weights.
    """
    uses: list[LoraUse] = []
    notes: list[str] = []
    for network in _in_order(networks):
        file = index.find(LORA, network.name)
        if file is None:
            notes.append(_missing_note(network.name, index))
            continue
        made_for = file.facts.family
        if made_for and made_for != family.network_family:
            notes.append(
                f"The LoRA '{network.name}' was made for {made_for}, the checkpoint is {family.name}; "
                "the picture is made without it."
            )
            continue
        try:
            if file.facts.error:
                raise BadArgument(file.facts.error)
            uses.append(_read_use(network, file))
        except BadArgument as error:
            notes.append(f"{network.label} is left out: {error}")
            continue
        if note := _namesake_note(network.name, file, index):
            notes.append(note)
    last = {use.name: use for use in uses}
    return tuple(last[use.name] for use in uses), tuple(notes)


def _in_order(networks: Iterable[ExtraNetwork]) -> list[ExtraNetwork]:
    """Return the tags of LoRAs in A1111's order: all those with the word that comes first, then the others."""
    tags = [network for network in networks if network.kind in LORA_TAGS]
    words = list(dict.fromkeys(network.kind for network in tags))
    return sorted(tags, key=lambda network: words.index(network.kind))


def infotext_name(use: LoraUse) -> str:
    """Return the name of a LoRA among the infotext's hashes, without what separates them there."""
    return use.name.replace(":", "").replace(",", "")


def _read_use(network: ExtraNetwork, file: NetworkFile) -> LoraUse:
    text_encoder = network.number(0, "te", 1.0)
    unet = network.number(1, "unet", text_encoder)
    rank = network.number(2, "dyn", math.inf)
    if rank != math.inf and rank != int(rank):
        raise BadArgument(f"its rank '{rank:g}' is not a whole number.")
    limit = int(max(rank, -_MAX_RANK)) if rank < _MAX_RANK else None
    return LoraUse(network.name, file, text_encoder, unet, limit)


def _namesake_note(name: str, file: NetworkFile, index: NetworkIndex) -> str:
    """Return which of several files of a name is used, with the tag of another one; "" where the name says it."""
    others = index.namesakes(file) if name == file.network_name else ()
    if not others:
        return ""
    return (
        f"{len(others) + 1} LoRAs are named '{name}', and that in '{file.name}' is used; "
        f"<lora:{path_name(others[0])}:1> is that in '{others[0].name}'."
    )


def _missing_note(name: str, index: NetworkIndex) -> str:
    names = [file.network_name for file in index.files(LORA)]
    hint = did_you_mean(name, names) if names else "LoRA files are read from models/Lora."
    return f"There is no LoRA '{name}'; the picture is made without it. {hint}"
