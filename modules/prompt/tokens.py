"""Text to CLIP token numbers, and token numbers to the chunks of 75 that the text encoder reads."""

from __future__ import annotations

import functools
import gzip
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer

CHUNK_TOKENS = 75
# A1111's default for "comma_padding_backtrack": how far back a chunk may end at a comma.
COMMA_BACKTRACK = 20
# The vocabulary file lists merges after one header line; the last ones belong to 512 byte tokens and 2 marks.
_MERGE_COUNT = 49152 - 256 - 2
_BEGIN, _END = "<|startoftext|>", "<|endoftext|>"
# Words, numbers and punctuation as CLIP's own tokenizer splits them (Radford et al. 2021).
_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


@dataclass(frozen=True)
class TokenCount:
    """How many tokens a prompt has and how many fit before another chunk begins."""

    tokens: int
    limit: int


class ClipTokenizer:
    """CLIP's byte-pair encoding from its original vocabulary file; reads it when first used.

    Args:
        vocabulary: The file `bpe_simple_vocab_16e6.txt.gz`.
    """

    def __init__(self, vocabulary: Path) -> None:
        self._vocabulary = vocabulary

    @functools.cached_property
    def _bpe(self) -> Tokenizer:
        return _build(self._vocabulary)

    @functools.cached_property
    def _marks(self) -> tuple[int, int, int]:
        vocabulary = self._bpe.get_vocab()
        return vocabulary[_BEGIN], vocabulary[_END], vocabulary[",</w>"]

    def encode(self, text: str) -> list[int]:
        """Return the token numbers of the text, without begin and end marks."""
        return self._bpe.encode(text, add_special_tokens=False).ids

    def count(self, text: str) -> TokenCount:
        """Return the number of tokens and the room in the chunks they take."""
        tokens = len(self.encode(text))
        chunk_count = len(self.chunks(text))
        return TokenCount(tokens, chunk_count * CHUNK_TOKENS)

    def chunks(self, text: str, padding: int | None = None) -> list[list[int]]:
        """Return one or more rows of 77 token numbers, begun, ended and padded.

        A full chunk ends at its last comma when that is at most 20 tokens back, as in A1111.

        Args:
            text: Of any length.
            padding: What follows the end mark, such as 0 for SD 2.x; None repeats the mark, as SD 1.x does.
        """
        begin, end, comma = self._marks
        rows = split_at_commas(self.encode(text), comma) or [[]]
        filler = end if padding is None else padding
        return [[begin, *row, end, *[filler] * (CHUNK_TOKENS - len(row))] for row in rows]


def split_at_commas(tokens: Sequence[int], comma: int) -> list[list[int]]:
    """Return the tokens in rows of at most 75, broken after a comma where one is near the end."""
    rows: list[list[int]] = []
    rest = list(tokens)
    while len(rest) > CHUNK_TOKENS:
        cut = CHUNK_TOKENS
        if rest[cut] != comma:
            near = [
                i for i in range(CHUNK_TOKENS - COMMA_BACKTRACK, CHUNK_TOKENS) if rest[i] == comma
            ]
            cut = near[-1] + 1 if near else CHUNK_TOKENS
        rows.append(rest[:cut])
        rest = rest[cut:]
    if rest:
        rows.append(rest)
    return rows


def _build(vocabulary: Path) -> Tokenizer:
    from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers
    from tokenizers.models import BPE

    with gzip.open(vocabulary, "rt", encoding="utf-8") as file:
        lines = file.read().split("\n")
    merges = [(pair[0], pair[1]) for pair in (line.split() for line in lines[1 : _MERGE_COUNT + 1])]
    letters = _byte_letters()
    tokens = [
        *letters,
        *(letter + "</w>" for letter in letters),
        *(a + b for a, b in merges),
        _BEGIN,
        _END,
    ]
    bpe = Tokenizer(
        BPE(
            vocab={token: number for number, token in enumerate(tokens)},
            merges=merges,
            end_of_word_suffix="</w>",
            unk_token=_END,
        )
    )
    bpe.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    return bpe


def _byte_letters() -> list[str]:
    """Return a printable letter for each byte, in the vocabulary's order (printable bytes come first)."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) for byte in printable] + [chr(256 + i) for i in range(len(others))]
