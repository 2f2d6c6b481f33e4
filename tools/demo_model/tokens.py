"""Turns captions into CLIP token ids, and into the compact ids the trainer uses.

The demo vocabulary is a handful of the 49408 CLIP tokens. Training holds only their rows; the
export spreads them over the full table and leaves every other row zero, so foreign words are
neutral.
"""

from __future__ import annotations

import gzip
import random
import re
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

import torch

from tools.demo_model.captions import caption
from tools.demo_model.scenes import sample_scene

VOCABULARY_FILE = Path(__file__).parents[2] / "configs/clip/bpe_simple_vocab_16e6.txt.gz"
BOS, EOS = 49406, 49407
CLIP_VOCABULARY_SIZE = 49408
CONTEXT_LENGTH = 77
UNKNOWN, COMPACT_BOS, COMPACT_EOS = 0, 1, 2


def _byte_symbols() -> list[str]:
    """Return the printable stand-in of each byte, in CLIP's order."""
    visible = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [b for b in range(256) if b not in visible]
    return [chr(b) for b in visible] + [chr(256 + n) for n in range(len(hidden))]


class Tokenizer:
    """CLIP's byte pair encoding, for the lower-case words of captions."""

    def __init__(self, file: Path = VOCABULARY_FILE) -> None:
        """Read the merges from CLIP's own vocabulary file."""
        lines = gzip.decompress(file.read_bytes()).decode().split("\n")
        merges = [tuple(line.split()) for line in lines[1 : 49152 - 256 - 2 + 1]]
        symbols = _byte_symbols()
        words = [*symbols, *(s + "</w>" for s in symbols), *("".join(m) for m in merges)]
        self._ids = {word: k for k, word in enumerate(words)}
        self._ranks = {merge: k for k, merge in enumerate(merges)}
        self.word_ids = lru_cache(maxsize=None)(self._word_ids)

    def _word_ids(self, word: str) -> tuple[int, ...]:
        parts = [*word[:-1], word[-1] + "</w>"]
        while len(parts) > 1:
            ranked = [self._ranks.get(pair, len(self._ranks)) for pair in pairwise(parts)]
            best = min(range(len(ranked)), key=ranked.__getitem__)
            if ranked[best] == len(self._ranks):
                break
            parts[best : best + 2] = [parts[best] + parts[best + 1]]
        return tuple(self._ids[part] for part in parts)

    def encode(self, text: str) -> list[int]:
        """Return the CLIP ids of an ASCII text, without start and end tokens."""
        words = re.findall(r"[a-z]+|[0-9]|[^\sa-z0-9]+", text.lower())
        return [k for word in words for k in self.word_ids(word)]


class CompactVocabulary:
    """The CLIP ids that captions can contain, renumbered from 3; 0 stands for all others."""

    def __init__(self, tokenizer: Tokenizer, clip_ids: list[int]) -> None:
        """Take the tokenizer and the CLIP ids of rows 3 and up."""
        self.tokenizer = tokenizer
        self.clip_ids = clip_ids
        self._rows = {k: row for row, k in enumerate(clip_ids, 3)}

    @classmethod
    def collect(cls, tokenizer: Tokenizer, sample_count: int = 30000) -> CompactVocabulary:
        """Return the vocabulary of many random captions (the same at every call)."""
        rng = random.Random(7)
        found: set[int] = set()
        for _ in range(sample_count):
            found.update(tokenizer.encode(caption(sample_scene(rng), rng)))
        return cls(tokenizer, sorted(found))

    def __len__(self) -> int:
        """Return the number of rows, with unknown, start and end."""
        return len(self.clip_ids) + 3

    def rows(self, text: str) -> list[int]:
        """Return the compact ids of a text, without start and end."""
        return [self._rows.get(k, UNKNOWN) for k in self.tokenizer.encode(text)]

    def batch(self, texts: list[str], distract: random.Random | None = None) -> torch.Tensor:
        """Return compact ids [batch, 77], padded with the end token as SD 1.x does.

        Args:
            texts: The captions.
            distract: When given, a third of the captions get one to eight unknown words at
                random places, so that the model learns to ignore them.
        """
        ids = torch.full((len(texts), CONTEXT_LENGTH), COMPACT_EOS)
        for row, text in enumerate(texts):
            words = self.rows(text)
            if distract is not None and words and distract.random() < 0.33:
                for _ in range(distract.choice((1, 1, 2, 3, 5, 8))):
                    words.insert(distract.randrange(len(words) + 1), UNKNOWN)
            words = [COMPACT_BOS, *words[: CONTEXT_LENGTH - 2]]
            ids[row, : len(words)] = torch.tensor(words)
        return ids

    def table(self, rows: torch.Tensor) -> torch.Tensor:
        """Return the full CLIP embedding table [49408, hidden] of compact rows."""
        full = torch.zeros(CLIP_VOCABULARY_SIZE, rows.shape[1], dtype=rows.dtype)
        full[[BOS, EOS]] = rows[[COMPACT_BOS, COMPACT_EOS]]
        full[self.clip_ids] = rows[3:]
        return full
