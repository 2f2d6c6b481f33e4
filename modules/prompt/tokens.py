"""Text to CLIP token numbers. Knows nothing of weights."""

from __future__ import annotations

import functools
import gzip
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# The vocabulary file lists merges after one header line; the last ones belong to 512 byte tokens and 2 marks.
_MERGE_COUNT = 49152 - 256 - 2
_BEGIN, _END = "<|startoftext|>", "<|endoftext|>"
# Words, numbers and punctuation as CLIP's own tokenizer splits them (Radford et al. 2021).
_WORDS = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


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
    def _special_token_ids(self) -> tuple[int, int, int]:
        vocabulary = self._bpe.get_vocab()
        return vocabulary[_BEGIN], vocabulary[_END], vocabulary[",</w>"]

    def encode(self, text: str) -> list[int]:
        """Return the token numbers of the text, without begin and end marks."""
        return self._bpe.encode(text, add_special_tokens=False).ids

    def id_to_token(self, token_id: int) -> str:
        """Return how the vocabulary spells a token."""
        return str(self._bpe.id_to_token(token_id))

    @property
    def bos_token_id(self) -> int:
        """Return the mark that every chunk begins with."""
        return self._special_token_ids[0]

    @property
    def eos_token_id(self) -> int:
        """Return the mark that ends a chunk's words."""
        return self._special_token_ids[1]

    @property
    def comma_token_id(self) -> int:
        """Return the token of a comma that ends a word."""
        return self._special_token_ids[2]


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
