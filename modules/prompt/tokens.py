"""Tokenizes text with CLIP's byte-pair encoding. Knows nothing of weights."""

from __future__ import annotations

import functools
import gzip
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer

# The vocabulary file lists merges after one header line; not all are used: 512 tokens are bytes and 2 are BOS and EOS.
_MERGE_COUNT = 49152 - 256 - 2
_BOS_TOKEN, _EOS_TOKEN = "<|startoftext|>", "<|endoftext|>"
# Words, numbers and punctuation as CLIP's own tokenizer splits them (Radford et al. 2021).
_PRE_TOKENS = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


class ClipTokenizer:
    """CLIP's byte-pair encoding from its original vocabulary file, which is read on first use.

    Args:
        vocabulary: The file `bpe_simple_vocab_16e6.txt.gz`.
    """

    def __init__(self, vocabulary: Path) -> None:
        self._vocabulary_path = vocabulary

    @functools.cached_property
    def _bpe(self) -> Tokenizer:
        return _build_tokenizer(self._vocabulary_path)

    @functools.cached_property
    def _special_token_ids(self) -> tuple[int, int, int]:
        token_ids = self._bpe.get_vocab()
        return token_ids[_BOS_TOKEN], token_ids[_EOS_TOKEN], token_ids[",</w>"]

    def encode(self, text: str) -> list[int]:
        """Return the token ids of the text, without BOS and EOS."""
        return self._bpe.encode(text, add_special_tokens=False).ids

    def id_to_token(self, token_id: int) -> str:
        """Return the token's text in the vocabulary."""
        return str(self._bpe.id_to_token(token_id))

    @property
    def bos_token_id(self) -> int:
        """Return the id of the token that begins every chunk."""
        return self._special_token_ids[0]

    @property
    def eos_token_id(self) -> int:
        """Return the id of the token that ends a chunk's text."""
        return self._special_token_ids[1]

    @property
    def comma_token_id(self) -> int:
        """Return the id of a comma at the end of a word."""
        return self._special_token_ids[2]


def _build_tokenizer(vocabulary_path: Path) -> Tokenizer:
    from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers
    from tokenizers.models import BPE

    with gzip.open(vocabulary_path, "rt", encoding="utf-8") as file:
        lines = file.read().split("\n")
    merges = [(pair[0], pair[1]) for pair in (line.split() for line in lines[1 : _MERGE_COUNT + 1])]
    characters = _byte_characters()
    tokens = [
        *characters,
        *(character + "</w>" for character in characters),
        *(a + b for a, b in merges),
        _BOS_TOKEN,
        _EOS_TOKEN,
    ]
    bpe = Tokenizer(
        BPE(
            vocab={token: token_id for token_id, token in enumerate(tokens)},
            merges=merges,
            end_of_word_suffix="</w>",
            unk_token=_EOS_TOKEN,
        )
    )
    bpe.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PRE_TOKENS), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    return bpe


def _byte_characters() -> list[str]:
    """Return a printable character for each byte, in the vocabulary's order (printable bytes first)."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) for byte in printable] + [chr(256 + i) for i in range(len(others))]
