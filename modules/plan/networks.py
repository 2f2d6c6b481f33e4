"""The networks that a request's prompts name, resolved for each pass; what cannot be used becomes a note."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from modules.core.errors import UserError, WebUIError
from modules.models.embeddings import EmbeddingList
from modules.models.files.header import read_header
from modules.models.hypernetworks import AppliedHypernetwork, find_hypernetwork_misfit
from modules.models.index import ModelIndex
from modules.models.kinds import HYPERNETWORK
from modules.plan.embeddings import (
    TI_HASHES,
    EmbeddingVocabulary,
    embedding_notes,
    format_ti_hashes,
    used_names,
)
from modules.plan.plan import Plan
from modules.plan.planned_pass import PlannedPass
from modules.prompt.extra_networks import ExtraNetwork, extract_networks

_HASH_TIMEOUT_S = 30
WITHOUT_IT = "The picture is made without it."
HYPERNET = "hypernet"


def add_networks(
    plan: Plan, passes: Sequence[PlannedPass], models: ModelIndex, vocabulary: EmbeddingVocabulary
) -> Plan:
    """Return the plan with the embeddings and hypernetworks of its passes, their hashes and notes.

    Args:
        plan: Without networks.
        passes: The first pass and, if there is one, the hires pass.
        models: Finds the files.
        vocabulary: The embeddings.
    """
    notes: list[str] = []
    resolved = [_resolve(planned, models, vocabulary, notes) for planned in passes]
    first, hires = resolved[0], plan.hires
    if hires is not None:
        hires = replace(
            hires,
            plan=replace(
                hires.plan,
                embeddings=resolved[1].embeddings,
                hypernetworks=resolved[1].hypernetworks,
            ),
        )
    return replace(
        plan,
        embeddings=first.embeddings,
        hypernetworks=first.hypernetworks,
        infotext_pairs=_ti_pairs(passes[0], first, vocabulary.listing),
        hires=hires,
        notes=(*plan.notes, *dict.fromkeys(notes)),
    )


def _resolve(
    planned: PlannedPass, models: ModelIndex, vocabulary: EmbeddingVocabulary, notes: list[str]
) -> Plan:
    """Return the plan of a pass with its networks; append notes."""
    used = used_names(planned)
    embeddings = tuple(one for one in vocabulary.listing.all() if one.name in used)
    notes += embedding_notes(planned, vocabulary)
    hypernetworks = [
        found
        for network in extract_networks(planned.plan.request.prompt)[1]
        if network.kind == HYPERNET
        and (found := _find_hypernetwork(network, planned, models, notes)) is not None
    ]
    return replace(planned.plan, embeddings=embeddings, hypernetworks=tuple(hypernetworks))


def _ti_pairs(
    planned: PlannedPass, plan: Plan, listing: EmbeddingList
) -> tuple[tuple[str, str], ...]:
    embeddings = {one.name: one for one in plan.embeddings}
    hashes = {name: listing.short_hash(one, _HASH_TIMEOUT_S) for name, one in embeddings.items()}
    text = format_ti_hashes(planned, hashes)
    return ((TI_HASHES, text),) if text else ()


def _find_hypernetwork(
    network: ExtraNetwork, planned: PlannedPass, models: ModelIndex, notes: list[str]
) -> AppliedHypernetwork | None:
    """Return the hypernetwork that a tag names; None, with a note, where it cannot be used."""
    name, *others = network.args
    try:
        multiplier = _read_multiplier(network, others)
        file = models.find(HYPERNETWORK, name.strip())
        misfit = find_hypernetwork_misfit(
            file.name, read_header(file.path), planned.plan.checkpoint
        )
        if misfit:
            raise UserError(misfit)
    except WebUIError as error:
        notes.append(f"{error} {WITHOUT_IT}")
        return None
    return AppliedHypernetwork(file, multiplier)


def _read_multiplier(network: ExtraNetwork, others: Sequence[str]) -> float:
    text = others[0].strip() if others else "1"
    try:
        multiplier = float(text)
    except ValueError:
        multiplier = math.nan
    if not math.isfinite(multiplier):
        raise UserError(f"The weight in {network.label} is no number.")
    return multiplier
