"""A prompt to the chunks of 75 tokens that the text encoder reads one by one, each token with its weight."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from modules.params.settings.guidance import GuidanceSettings
from modules.prompt.emphasis import EMPHASES, Emphasis, WeightedText, parse_emphasis
from modules.prompt.tokens import ClipTokenizer

CHUNK_TOKENS = 75
# A1111's default for "comma_padding_backtrack": how far back a chunk may end at a comma.
COMMA_BACKTRACK = 20
_OLD_FACTORS = {"(": 1.1, ")": 1 / 1.1, "[": 1 / 1.1, "]": 1.1}
_ORIGINAL = EMPHASES.get("Original")


@dataclass(frozen=True)
class Chunk:
    """77 token numbers, begun, ended and padded, and the weight of each; marks and padding weigh 1."""

    token_ids: tuple[int, ...]
    weights: tuple[float, ...]


@dataclass(frozen=True)
class TokenCount:
    """How many tokens a prompt takes and how many fit before another chunk begins."""

    tokens: int
    limit: int


@dataclass(frozen=True)
class Chunker:
    """Cuts prompts into chunks.

    Args:
        tokenizer: Turns words into numbers.
        emphasis: How brackets are read.
        comma_backtrack: A full chunk ends at its last comma when that is at most so many tokens back.
        pad_token_id: What follows the end mark, such as 0 for SD 2.x; None repeats the mark, as SD 1.x does.
        old_emphasis: Whether brackets are read as A1111 did at first; see `_old_row`.
    """

    tokenizer: ClipTokenizer
    emphasis: Emphasis = _ORIGINAL
    comma_backtrack: int = COMMA_BACKTRACK
    pad_token_id: int | None = None
    old_emphasis: bool = False

    @classmethod
    def from_settings(
        cls, tokenizer: ClipTokenizer, settings: GuidanceSettings, pad_token_id: int | None = None
    ) -> Chunker:
        """Return the chunker that the options describe."""
        return cls(
            tokenizer,
            EMPHASES.get(settings.emphasis),
            settings.comma_padding_backtrack,
            pad_token_id,
            settings.use_old_emphasis_implementation,
        )

    def split_into_chunks(self, text: str) -> list[Chunk]:
        """Return one or more chunks of a text of any length."""
        return [self._chunk(row) for row in self._rows(text)]

    def count_tokens(self, text: str) -> TokenCount:
        """Return the tokens as A1111 counts them: every chunk but the last as full."""
        rows = self._rows(text)
        full = (len(rows) - 1) * CHUNK_TOKENS
        return TokenCount(full + len(rows[-1]), full + CHUNK_TOKENS)

    def _rows(self, text: str) -> list[list[tuple[int, float]]]:
        """Return the tokens and weights of each chunk; a BREAK ends one, be it empty."""
        if self.old_emphasis:
            return [self._row_with_old_emphasis(text)]
        if self.emphasis.parses_brackets:
            divided = parse_emphasis(text)
        else:
            divided = ((WeightedText(text),),)
        rows: list[list[tuple[int, float]]] = []
        for section in divided[:-1]:
            rows += self._cut(section) or [[]]
        return rows + self._cut(divided[-1]) or [[]]

    def _cut(self, section: Sequence[WeightedText]) -> list[list[tuple[int, float]]]:
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
        """Return one chunk, cut off at its end, as A1111's option "use_old_emphasis_implementation" does.

        Every bracket in a token changes the weight of the tokens behind it by 1.1; the token itself goes.
        """
        weight = 1.0
        row: list[tuple[int, float]] = []
        for token in self.tokenizer.encode(text):
            factor = 1.0
            if self.emphasis.parses_brackets:
                for letter in self.tokenizer.id_to_token(token):
                    factor *= _OLD_FACTORS.get(letter, 1.0)
            if factor == 1:
                row.append((token, weight))
            weight *= factor
        return row[:CHUNK_TOKENS]

    def _chunk(self, row: list[tuple[int, float]]) -> Chunk:
        begin, end = self.tokenizer.bos_token_id, self.tokenizer.eos_token_id
        spare = CHUNK_TOKENS - len(row)
        filler = end if self.pad_token_id is None else self.pad_token_id
        tokens = (begin, *(token for token, _ in row), end, *[filler] * spare)
        weights = (1.0, *(weight for _, weight in row), 1.0, *[1.0] * spare)
        return Chunk(tokens, weights)


def split_at_commas(
    token_ids: Sequence[int], comma_token_id: int, comma_backtrack: int = COMMA_BACKTRACK
) -> list[list[int]]:
    """Return the tokens in rows of at most 75, broken after a comma where one is near the end."""
    rows: list[list[int]] = []
    rest = list(token_ids)
    while len(rest) > CHUNK_TOKENS:
        cut = CHUNK_TOKENS
        if rest[cut] != comma_token_id:
            nearest = max(0, CHUNK_TOKENS - comma_backtrack)
            near = [i for i in range(nearest, CHUNK_TOKENS) if rest[i] == comma_token_id]
            cut = near[-1] + 1 if near else CHUNK_TOKENS
        rows.append(rest[:cut])
        rest = rest[cut:]
    if rest:
        rows.append(rest)
    return rows
