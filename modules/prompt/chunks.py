"""Splits a prompt into chunks of 75 weighted tokens, which are encoded one by one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from modules.core.registry import Registry
from modules.params.settings.guidance import GuidanceSettings
from modules.prompt.emphasis import EMPHASES, Emphasis, WeightedText, parse_emphasis
from modules.prompt.tokens import ClipTokenizer

CHUNK_TOKENS = 75
# A1111's default for "comma_padding_backtrack": how far back a chunk may end at a comma.
COMMA_BACKTRACK = 20
_OLD_EMPHASIS_FACTORS = {"(": 1.1, ")": 1 / 1.1, "[": 1 / 1.1, "]": 1.1}
_ORIGINAL = EMPHASES.get("Original")


@dataclass(frozen=True)
class Chunk:
    """77 token ids with BOS, EOS and padding, and the weight of each; special tokens have weight 1."""

    token_ids: tuple[int, ...]
    weights: tuple[float, ...]


@dataclass(frozen=True)
class TokenCount:
    """Number of tokens of a prompt, and how many fit before another chunk begins."""

    tokens: int
    limit: int


@dataclass(frozen=True)
class Chunker:
    """Splits prompts into chunks.

    Args:
        tokenizer: The text encoder's tokenizer.
        emphasis: How brackets are parsed.
        comma_backtrack: A full chunk ends at its last comma when that is at most this many tokens back.
        pad_token_id: Follows EOS, such as 0 for SD 2.x; None repeats EOS, as SD 1.x does.
        old_emphasis: Whether brackets are parsed as in A1111's first versions; see `_row_with_old_emphasis`.
    """

    tokenizer: ClipTokenizer
    emphasis: Emphasis = _ORIGINAL
    comma_backtrack: int = COMMA_BACKTRACK
    pad_token_id: int | None = None
    old_emphasis: bool = False

    @classmethod
    def from_settings(
        cls,
        tokenizer: ClipTokenizer,
        settings: GuidanceSettings,
        pad_token_id: int | None = None,
        emphases: Registry[Emphasis] = EMPHASES,
    ) -> Chunker:
        """Return the chunker for the given options."""
        return cls(
            tokenizer,
            emphases.get(settings.emphasis),
            settings.comma_padding_backtrack,
            pad_token_id,
            settings.use_old_emphasis_implementation,
        )

    def split_into_chunks(self, text: str) -> list[Chunk]:
        """Return one or more chunks of a text of any length."""
        return [self._make_chunk(row) for row in self._rows(text)]

    def count_tokens(self, text: str) -> TokenCount:
        """Return the token count as in A1111: every chunk but the last counts as full."""
        rows = self._rows(text)
        before_last = (len(rows) - 1) * CHUNK_TOKENS
        return TokenCount(before_last + len(rows[-1]), before_last + CHUNK_TOKENS)

    def _rows(self, text: str) -> list[list[tuple[int, float]]]:
        """Return the (token id, weight) pairs of each chunk; a BREAK ends a chunk even if it is empty."""
        if self.old_emphasis:
            return [self._row_with_old_emphasis(text)]
        if self.emphasis.parses_brackets:
            sections = parse_emphasis(text)
        else:
            sections = ((WeightedText(text),),)
        rows: list[list[tuple[int, float]]] = []
        for section in sections[:-1]:
            rows += self._split_section(section) or [[]]
        return rows + self._split_section(sections[-1]) or [[]]

    def _split_section(self, section: Sequence[WeightedText]) -> list[list[tuple[int, float]]]:
        pairs = [
            (token, piece.weight)
            for piece in section
            for token in self.tokenizer.encode(piece.text)
        ]
        rows: list[list[tuple[int, float]]] = []
        for row in split_at_commas(
            [token for token, _ in pairs], self.tokenizer.comma_token_id, self.comma_backtrack
        ):
            rows.append(pairs[: len(row)])
            pairs = pairs[len(row) :]
        return rows

    def _row_with_old_emphasis(self, text: str) -> list[tuple[int, float]]:
        """Return a single truncated chunk, as A1111's option "use_old_emphasis_implementation" does.

        Every bracket in a token changes the weight of the tokens after it by 1.1; the token itself is dropped.
        """
        weight = 1.0
        row: list[tuple[int, float]] = []
        for token in self.tokenizer.encode(text):
            factor = 1.0
            if self.emphasis.parses_brackets:
                for character in self.tokenizer.id_to_token(token):
                    factor *= _OLD_EMPHASIS_FACTORS.get(character, 1.0)
            if factor == 1:
                row.append((token, weight))
            weight *= factor
        return row[:CHUNK_TOKENS]

    def _make_chunk(self, row: list[tuple[int, float]]) -> Chunk:
        bos, eos = self.tokenizer.bos_token_id, self.tokenizer.eos_token_id
        padding = CHUNK_TOKENS - len(row)
        pad = eos if self.pad_token_id is None else self.pad_token_id
        token_ids = (bos, *(token for token, _ in row), eos, *[pad] * padding)
        weights = (1.0, *(weight for _, weight in row), 1.0, *[1.0] * padding)
        return Chunk(token_ids, weights)


def split_at_commas(
    token_ids: Sequence[int], comma_token_id: int, comma_backtrack: int = COMMA_BACKTRACK
) -> list[list[int]]:
    """Return the tokens in rows of at most 75, each ending after a comma if one is near its end."""
    rows: list[list[int]] = []
    remaining = list(token_ids)
    while len(remaining) > CHUNK_TOKENS:
        end = CHUNK_TOKENS
        if remaining[end] != comma_token_id:
            earliest = max(0, CHUNK_TOKENS - comma_backtrack)
            commas = [i for i in range(earliest, CHUNK_TOKENS) if remaining[i] == comma_token_id]
            end = commas[-1] + 1 if commas else CHUNK_TOKENS
        rows.append(remaining[:end])
        remaining = remaining[end:]
    if remaining:
        rows.append(remaining)
    return rows
