"""When networks were used last, from the infotexts of the latest images."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from modules.engine.networks.cards import NetworkCard
from modules.models.kinds import CHECKPOINT, EMBEDDING, HYPERNETWORK
from modules.models.networks.network_kinds import LORA

IMAGES_READ = 2000  # the latest; what was not used in these counts as not used
_KIND_OF_TAG = {"lora": LORA, "lyco": LORA, "hypernet": HYPERNETWORK}
_TAG = re.compile(r"<(lora|lyco|hypernet):([^:>]*)")
_EMBEDDINGS = re.compile(r'TI hashes: "([^"]*)"')
LastUse = Mapping[tuple[str, str], float]


def find_last_use(
    infotexts: Iterable[tuple[str, float]], checkpoints: Mapping[str, float]
) -> LastUse:
    """Return by kind and name when each file was used last, in seconds since the epoch.

    Args:
        infotexts: Each with its time, the latest first.
        checkpoints: The times by the names of checkpoints.
    """
    used = {(CHECKPOINT, name): time for name, time in checkpoints.items()}
    for infotext, time in infotexts:
        for tag, name in _TAG.findall(infotext):
            used.setdefault((_KIND_OF_TAG[tag], name), time)
        for names in _EMBEDDINGS.findall(infotext):
            for pair in names.split(", "):
                used.setdefault((EMBEDDING, pair.rpartition(": ")[0]), time)
    return used


def last_use_of(card: NetworkCard, used: LastUse) -> float:
    """Return when a card's file was used last, in seconds since the epoch; 0 for never."""
    return max(used.get((card.kind, name), 0) for name in (card.name, card.alias, card.prompt_name))
