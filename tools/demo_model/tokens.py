"""Turns captions into CLIP token ids, and into the compact ids the trainer uses.

The demo vocabulary is a handful of the 49408 CLIP tokens. Training holds only their rows; the
export spreads them over the full table and leaves every other row zero, so foreign words are
neutral.
"""

from __future__ import annotations

import random
from pathlib import Path

import torch

from modules.prompt.tokens import ClipTokenizer
from tools.demo_model.captions import caption
from tools.demo_model.scenes import sample_scene

VOCABULARY_FILE = Path(__file__).parents[2] / "configs/clip/bpe_simple_vocab_16e6.txt.gz"
BOS, EOS = 49406, 49407
CLIP_VOCABULARY_SIZE = 49408
CONTEXT_LENGTH = 77
UNKNOWN, COMPACT_BOS, COMPACT_EOS = 0, 1, 2


def clip_tokenizer() -> ClipTokenizer:
    """Return the program's own tokenizer."""
    return ClipTokenizer(VOCABULARY_FILE)


class CompactVocabulary:
    """The CLIP ids that captions can contain, renumbered from 3; 0 replaces all others."""

    def __init__(self, clip_ids: list[int]) -> None:
        """Take the CLIP ids of rows 3 and up."""
        self.tokenizer = clip_tokenizer()
        self.clip_ids = clip_ids
        self._rows = {k: row for row, k in enumerate(clip_ids, 3)}

    @classmethod
    def collect(cls, sample_count: int = 30000) -> CompactVocabulary:
        """Return the vocabulary of many random captions (the same at every call)."""
        tokenizer = clip_tokenizer()
        rng = random.Random(7)
        found: set[int] = set()
        for _ in range(sample_count):
            found.update(tokenizer.encode(caption(sample_scene(rng), rng)))
        return cls(sorted(found))

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
