"""Words of prompts that name embeddings. They are found among tokens, the longest first. Knows nothing of vectors."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True)
class EmbeddingWord:
    """A word that names an embedding.

    Args:
        name: As it is listed; case does not matter in a prompt.
        token_ids: Of the name, at least one.
        vector_count: How many tokens its vectors take the place of.
        source: Identity of the vectors: another file or another content has another one.
    """

    name: str
    token_ids: tuple[int, ...]
    vector_count: int
    source: str = ""


@dataclass(frozen=True)
class PlacedEmbedding:
    """An embedding in a chunk.

    Args:
        offset: Of its first vector, counted from the chunk's first token, which is BOS.
        word: What it is.
    """

    offset: int
    word: EmbeddingWord


@dataclass(frozen=True)
class EmbeddingWords:
    """The words that a prompt may use; of several with the same tokens the first counts."""

    words: tuple[EmbeddingWord, ...] = ()

    def find(self, token_ids: Sequence[int], position: int) -> EmbeddingWord | None:
        """Return the longest word whose tokens are at a position, None if there is none."""
        for word in self._by_first_token.get(token_ids[position], ()):
            end = position + len(word.token_ids)
            if tuple(token_ids[position:end]) == word.token_ids:
                return word
        return None

    def only(self, names: Iterable[str]) -> EmbeddingWords:
        """Return those of some names; a text that uses only these is read in the same way."""
        wanted = frozenset(names)
        return EmbeddingWords(tuple(word for word in self.words if word.name in wanted))

    @cached_property
    def _by_first_token(self) -> dict[int, list[EmbeddingWord]]:
        table: dict[int, list[EmbeddingWord]] = {}
        for word in sorted(self.words, key=lambda word: -len(word.token_ids)):
            table.setdefault(word.token_ids[0], []).append(word)
        return table


NO_EMBEDDINGS = EmbeddingWords()
