"""Splits a prompt into chunks of 75 weighted tokens, which are encoded one by one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from modules.core.registry import Registry
from modules.params.settings.guidance import GuidanceSettings
from modules.prompt.embeddings import (
    NO_EMBEDDINGS,
    EmbeddingWord,
    EmbeddingWords,
    PlacedEmbedding,
)
from modules.prompt.emphasis import EMPHASES, Emphasis, WeightedText, parse_emphasis
from modules.prompt.tokens import ClipTokenizer

CHUNK_TOKENS = 75
# A1111's default for "comma_padding_backtrack": how far back a chunk may end at a comma.
COMMA_BACKTRACK = 20
PLACE = 0  # the token id in place of a vector
_OLD_EMPHASIS_FACTORS = {"(": 1.1, ")": 1 / 1.1, "[": 1 / 1.1, "]": 1.1}
_ORIGINAL = EMPHASES.get("Original")


@dataclass(frozen=True)
class Chunk:
    """77 token ids with BOS, EOS and padding, and the weight of each; special tokens have weight 1.

    Args:
        token_ids: 0 in place of a vector of an embedding.
        weights: Of each.
        embeddings: Those in it, in order.
    """

    token_ids: tuple[int, ...]
    weights: tuple[float, ...]
    embeddings: tuple[PlacedEmbedding, ...] = ()


@dataclass(frozen=True)
class TokenCount:
    """Number of tokens of a prompt, and how many fit before another chunk begins."""

    tokens: int
    limit: int


@dataclass
class _Row:
    """The (token id, weight) pairs of a chunk, and the (index, word) of each embedding."""

    pairs: list[tuple[int, float]] = field(default_factory=list[tuple[int, float]])
    embeddings: list[tuple[int, EmbeddingWord]] = field(
        default_factory=list[tuple[int, EmbeddingWord]]
    )
    last_comma: int = -1

    def place(self, word: EmbeddingWord, weight: float) -> None:
        """Append an embedding."""
        self.embeddings.append((len(self.pairs), word))
        self.pairs += [(PLACE, weight)] * word.vector_count

    def split_after_comma(self) -> _Row:
        """End the row after its last comma; return the row that begins with the rest.

        An embedding behind the comma stays in place while its tokens move on: A1111's slip, so that its images
        come back.
        """
        end = self.last_comma + 1
        rest = _Row(self.pairs[end:])
        del self.pairs[end:]
        return rest


@dataclass(frozen=True)
class Chunker:
    """Splits prompts into chunks.

    Args:
        tokenizer: The text encoder's tokenizer.
        emphasis: How brackets are parsed.
        comma_backtrack: A full chunk ends at its last comma when that is at most this many tokens back.
        pad_token_id: Follows EOS, such as 0 for SD 2.x; None repeats EOS, as SD 1.x does.
        old_emphasis: Whether brackets are parsed as in A1111's first versions; see `_row_with_old_emphasis`.
        words: The embeddings that a text may name.
    """

    tokenizer: ClipTokenizer
    emphasis: Emphasis = _ORIGINAL
    comma_backtrack: int = COMMA_BACKTRACK
    pad_token_id: int | None = None
    old_emphasis: bool = False
    words: EmbeddingWords = NO_EMBEDDINGS

    @classmethod
    def from_settings(
        cls,
        tokenizer: ClipTokenizer,
        settings: GuidanceSettings,
        pad_token_id: int | None = None,
        emphases: Registry[Emphasis] = EMPHASES,
        words: EmbeddingWords = NO_EMBEDDINGS,
    ) -> Chunker:
        """Return the chunker for the given options."""
        return cls(
            tokenizer,
            emphases.get(settings.emphasis),
            settings.comma_padding_backtrack,
            pad_token_id,
            settings.use_old_emphasis_implementation,
            words,
        )

    def split_into_chunks(self, text: str) -> list[Chunk]:
        """Return one or more chunks of a text of any length."""
        return [self._make_chunk(row) for row in self._rows(text)]

    def count_tokens(self, text: str) -> TokenCount:
        """Return the token count as in A1111: every chunk but the last counts as full."""
        rows = self._rows(text)
        before_last = (len(rows) - 1) * CHUNK_TOKENS
        return TokenCount(before_last + len(rows[-1].pairs), before_last + CHUNK_TOKENS)

    def _rows(self, text: str) -> list[_Row]:
        """Return the rows of the chunks; a BREAK ends a chunk even if it is empty."""
        if self.old_emphasis:
            return [self._row_with_old_emphasis(text)]
        if self.emphasis.parses_brackets:
            sections = parse_emphasis(text)
        else:
            sections = ((WeightedText(text),),)
        rows: list[_Row] = []
        for section in sections[:-1]:
            rows += self._split_section(section) or [_Row()]
        return rows + self._split_section(sections[-1]) or [_Row()]

    def _split_section(self, section: Sequence[WeightedText]) -> list[_Row]:
        """Return the rows of a section: of at most 75 tokens, each ending after a comma if one is near its end.

        An embedding whose vectors do not fit begins the next row, wherever the last comma is.
        """
        rows = [_Row()]
        comma = self.tokenizer.comma_token_id
        for piece in section:
            token_ids = self.tokenizer.encode(piece.text)
            position = 0
            while position < len(token_ids):
                token, row = token_ids[position], rows[-1]
                if len(row.pairs) == CHUNK_TOKENS:
                    is_near = CHUNK_TOKENS - row.last_comma <= self.comma_backtrack
                    if token != comma and self.comma_backtrack and row.last_comma >= 0 and is_near:
                        row = row.split_after_comma()
                    else:
                        row = _Row()
                    rows.append(row)
                word = self.words.find(token_ids, position)
                if word is not None and len(row.pairs) + word.vector_count > CHUNK_TOKENS:
                    row = _Row()
                    rows.append(row)
                if word is not None:
                    row.place(word, piece.weight)
                    position += len(word.token_ids)
                    continue
                if token == comma:
                    row.last_comma = len(row.pairs)
                row.pairs.append((token, piece.weight))
                position += 1
        return rows if rows[-1].pairs else rows[:-1]

    def _row_with_old_emphasis(self, text: str) -> _Row:
        """Return a single truncated chunk, as A1111's option "use_old_emphasis_implementation" does.

        Every bracket in a token changes the weight of the tokens after it by 1.1; the token itself is dropped.
        """
        weight, position = 1.0, 0
        row = _Row()
        token_ids = self.tokenizer.encode(text)
        while position < len(token_ids):
            word = self.words.find(token_ids, position)
            if word is not None:
                row.place(word, weight)
                position += len(word.token_ids)
                continue
            factor, token = 1.0, token_ids[position]
            if self.emphasis.parses_brackets:
                for character in self.tokenizer.id_to_token(token):
                    factor *= _OLD_EMPHASIS_FACTORS.get(character, 1.0)
            if factor == 1:
                row.pairs.append((token, weight))
            weight *= factor
            position += 1
        return _Row(row.pairs[:CHUNK_TOKENS], row.embeddings)

    def _make_chunk(self, row: _Row) -> Chunk:
        bos, eos = self.tokenizer.bos_token_id, self.tokenizer.eos_token_id
        padding = CHUNK_TOKENS - len(row.pairs)
        pad = eos if self.pad_token_id is None else self.pad_token_id
        token_ids = (bos, *(token for token, _ in row.pairs), eos, *[pad] * padding)
        weights = (1.0, *(weight for _, weight in row.pairs), 1.0, *[1.0] * padding)
        placed = (PlacedEmbedding(1 + index, word) for index, word in row.embeddings)
        return Chunk(token_ids, weights, tuple(placed))
