"""Resolves the hypernetwork tags of a prompt, such as `<hypernet:name:0.8>`, to files and weights by A1111's rules."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from modules.core.errors import UserError, WebUIError
from modules.models.checkpoint import Checkpoint
from modules.models.files.header import read_header
from modules.models.index import ModelIndex
from modules.models.kinds import HYPERNETWORK
from modules.models.networks.hypernetworks import HypernetworkUse, find_hypernetwork_misfit
from modules.prompt.extra_networks import ExtraNetwork

HYPERNET = "hypernet"


def plan_hypernetworks(
    networks: Iterable[ExtraNetwork], models: ModelIndex, checkpoint: Checkpoint
) -> tuple[tuple[HypernetworkUse, ...], tuple[str, ...]]:
    """Return the hypernetworks of a prompt in its order, and a note for each tag that is left out."""
    uses: list[HypernetworkUse] = []
    notes: list[str] = []
    for network in networks:
        if network.kind != HYPERNET:
            continue
        try:
            uses.append(_read_use(network, models, checkpoint))
        except WebUIError as error:
            notes.append(f"{network.label} is left out: {error}")
    return tuple(uses), tuple(notes)


def _read_use(network: ExtraNetwork, models: ModelIndex, checkpoint: Checkpoint) -> HypernetworkUse:
    name, *others = network.args
    multiplier = _read_multiplier(others)
    file = models.find(HYPERNETWORK, name.strip())
    misfit = find_hypernetwork_misfit(file.name, read_header(file.path), checkpoint)
    if misfit:
        raise UserError(misfit)
    return HypernetworkUse(file, multiplier)


def _read_multiplier(arguments: Sequence[str]) -> float:
    text = arguments[0].strip() if arguments else "1"
    try:
        multiplier = float(text)
    except ValueError:
        multiplier = math.nan
    if not math.isfinite(multiplier):
        raise UserError(f"its weight '{text}' is not a number.")
    return multiplier
