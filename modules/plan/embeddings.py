"""The embeddings that a request's prompts use: found by their names among the tokens, counted for the infotext."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import zip_longest

from modules.core.errors import WebUIError
from modules.models.checkpoint import Checkpoint
from modules.models.files.header import read_header
from modules.models.networks.embeddings import (
    Embedding,
    EmbeddingList,
    checkpoint_widths,
    read_bundle,
)
from modules.plan.networks.loras import LoraUse
from modules.plan.plan import Plan
from modules.plan.planned_pass import PlannedPass
from modules.prompt.chunks import PLACE, Chunk
from modules.prompt.embeddings import EmbeddingWord, EmbeddingWords
from modules.prompt.schedule import ScheduledText
from modules.prompt.tokens import ClipTokenizer

_HASH_TIMEOUT_S = 30


class EmbeddingVocabulary:
    """The words that prompts may use, for each kind of checkpoint made once.

    Args:
        listing: The embeddings.
        tokenizer: Splits their names as it splits prompts.
    """

    def __init__(self, listing: EmbeddingList, tokenizer: ClipTokenizer) -> None:
        self.listing = listing
        self._tokenizer = tokenizer
        self._made_of: Sequence[Embedding] = ()
        self._words: dict[tuple[tuple[int, ...], bool], EmbeddingWords] = {}

    def words(self, checkpoint: Checkpoint, loras: Sequence[LoraUse] = ()) -> EmbeddingWords:
        """Return the words for embeddings that a checkpoint can use.

        Args:
            checkpoint: The checkpoint.
            loras: Of the pass; the embeddings in their files can be used with them, unless the folder has one of that
                name.
        """
        words = self._select(checkpoint, usable=True)
        bundled = [one for one, _ in find_bundled(loras) if not one.find_misfit(checkpoint)]
        if not bundled:
            return words
        names = {word.name for word in words.words}
        others = make_words((one for one in bundled if one.name not in names), self._tokenizer)
        return EmbeddingWords((*words.words, *others.words))

    def unusable_words(self, checkpoint: Checkpoint) -> EmbeddingWords:
        """Return the words for embeddings that it cannot use, which are plain text."""
        return self._select(checkpoint, usable=False)

    def _select(self, checkpoint: Checkpoint, *, usable: bool) -> EmbeddingWords:
        listed = self.listing.all()
        words = self._words if self._made_of is listed else {}
        key = checkpoint_widths(checkpoint), usable
        if key not in words:
            chosen = [one for one in listed if (one.find_misfit(checkpoint) == "") is usable]
            words = {**words, key: make_words(chosen, self._tokenizer)}
            self._made_of, self._words = listed, words
        return words[key]


def make_words(embeddings: Iterable[Embedding], tokenizer: ClipTokenizer) -> EmbeddingWords:
    """Return the words of embeddings; a name without any token cannot be written in a prompt."""
    words = [
        EmbeddingWord(
            one.name, tuple(tokenizer.encode(one.name)), one.vector_count, str(one.file.stamp)
        )
        for one in embeddings
    ]
    return EmbeddingWords(tuple(word for word in words if word.token_ids))


def add_embeddings(
    plan: Plan, passes: Sequence[PlannedPass], vocabulary: EmbeddingVocabulary
) -> Plan:
    """Return the plan with the embeddings of its prompts, each pass with its own, and notes on them.

    Args:
        plan: Without embeddings.
        passes: The first pass and, if there is one, the hires pass.
        vocabulary: The embeddings.
    """
    first, *second = (find_embeddings(planned, vocabulary.listing) for planned in passes)
    notes = dict.fromkeys(note for planned in passes for note in _notes(planned, vocabulary))
    hashes = _find_hashes(first, passes[0], vocabulary.listing)
    networks = replace(
        plan.networks,
        embeddings=first,
        words=passes[0].words.only(hashes),
        ti_hashes=format_ti_hashes(passes[0], hashes)
        if plan.settings.textual_inversion_add_hashes_to_infotext
        else "",
    )
    hires = plan.hires
    if hires is not None:
        words = passes[1].words.only(one.name for one in second[0])
        others = replace(hires.plan.networks, embeddings=second[0], words=words)
        hires = replace(hires, plan=replace(hires.plan, networks=others))
    return replace(plan, networks=networks, hires=hires, notes=(*plan.notes, *notes))


def _find_hashes(
    embeddings: Iterable[Embedding], planned: PlannedPass, listing: EmbeddingList
) -> dict[str, str]:
    """Return by name what the infotext states as an embedding's hash: the name of its LoRA for one in a LoRA's file."""
    states_bundled = planned.settings.lora_bundled_ti_to_infotext
    loras = dict(find_bundled(planned.plan.networks.loras))
    return {
        one.name: (loras[one] if states_bundled else "")
        if one in loras
        else listing.short_hash(one, _HASH_TIMEOUT_S)
        for one in embeddings
    }


def find_bundled(loras: Iterable[LoraUse]) -> list[tuple[Embedding, str]]:
    """Return the embeddings in the files of some LoRAs, each with the name of its LoRA; those of unreadable files are left out."""
    found: list[tuple[Embedding, str]] = []
    for lora in dict.fromkeys(use for use in loras if use.file.facts.has_bundle):
        with suppress(WebUIError):  # it is reported when the LoRA is folded
            bundle = read_bundle(lora.file, read_header(lora.file.path))
            found += [(one, lora.name) for one in bundle]
    return found


def find_embeddings(planned: PlannedPass, listing: EmbeddingList) -> tuple[Embedding, ...]:
    """Return the embeddings that the prompts of a pass name and its checkpoint can use."""
    used = used_names(planned)
    listed = {one.name: one for one in listing.all() if one.name in used}
    checkpoint = planned.plan.checkpoint
    for one, _ in find_bundled(planned.plan.networks.loras):
        known = listed.get(one.name)
        is_free = known is None or known.find_misfit(checkpoint)
        if one.name in used and is_free and not one.find_misfit(checkpoint):
            listed[one.name] = one
    return tuple(listed.values())


def used_names(planned: PlannedPass) -> frozenset[str]:
    """Return the names of the embeddings that a pass uses."""
    chunks = (chunk for text in planned.texts for chunk in planned.chunker.split_into_chunks(text))
    return frozenset(placed.word.name for chunk in chunks for placed in chunk.embeddings)


def _notes(planned: PlannedPass, vocabulary: EmbeddingVocabulary) -> list[str]:
    """Return what a user should know about the embeddings that a pass names, one sentence each."""
    checkpoint = planned.plan.checkpoint
    others = replace(planned, words=vocabulary.unusable_words(checkpoint))
    unusable = used_names(others)
    notes = [
        f"{one.find_misfit(checkpoint)} Its name is read as text."
        for one in vocabulary.listing.all()
        if one.name in unusable
    ]
    displaced = {
        placed.word.name: None
        for text in sorted(planned.texts)
        for chunk in planned.chunker.split_into_chunks(text)
        for placed in chunk.embeddings
        if chunk.token_ids[placed.offset] != PLACE
    }
    return notes + [
        f"The embedding '{name}' is near the end of a part of the prompt, behind its last comma: as in A1111 its"
        " vectors come before the words around it. Move it forward."
        for name in displaced
    ]


def format_ti_hashes(planned: PlannedPass, short_hashes: Mapping[str, str]) -> str:
    """Return A1111's list of the embeddings of a pass, such as "name: 0123456789ab", "" without any.

    Every prompt that is encoded puts its embeddings, in the order of their chunks, before those of the prompts encoded
    earlier, once for each text encoder; the negative prompt is the first one.

    Args:
        planned: The pass.
        short_hashes: Of the embeddings by their names; "" leaves one out.
    """
    *conds, uncond = planned.sub_prompts(old_scheduling=planned.settings.use_old_scheduling)
    entries: list[str] = []
    for texts in (uncond.texts, *dict.fromkeys(cond.texts for cond in conds)):
        names = _names_in_order(texts, planned)
        own = [f"{_strip_name(name)}: {short_hashes[name]}" for name in names if short_hashes[name]]
        for _ in planned.plan.checkpoint.text_encoders:
            entries = [*own, *entries]
    return ", ".join(entries)


def _names_in_order(texts: Sequence[ScheduledText], planned: PlannedPass) -> list[str]:
    """Return the names in the first chunks of all texts, then those in the second ones, and so on."""
    chunked = [planned.chunker.split_into_chunks(scheduled.text) for scheduled in texts]
    columns: Iterable[tuple[Chunk | None, ...]] = zip_longest(*chunked)
    found = (
        placed.word.name
        for column in columns
        for chunk in column
        if chunk is not None
        for placed in chunk.embeddings
    )
    return list(dict.fromkeys(found))


def _strip_name(name: str) -> str:
    return name.replace(":", "").replace(",", "")
