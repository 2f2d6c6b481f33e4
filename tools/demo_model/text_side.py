"""The trained text encoder together with its vocabulary: captions in, text states out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from tools.demo_model.text_encoder import make_text_encoder, text_states
from tools.demo_model.tokens import CompactVocabulary

if TYPE_CHECKING:
    import random
    from collections.abc import Mapping
    from pathlib import Path


@dataclass(frozen=True)
class TextSide:
    """The trained text encoder and its vocabulary."""

    encoder: torch.nn.Module
    vocabulary: CompactVocabulary
    device: str

    @classmethod
    def build(cls, saved: Mapping[str, object], device: str) -> TextSide:
        """Return the encoder of saved weights and CLIP ids."""
        vocabulary = CompactVocabulary(saved["clip_ids"])
        encoder = make_text_encoder(len(vocabulary))
        encoder.load_state_dict(saved["text_encoder"])
        return cls(encoder.to(device).eval(), vocabulary, device)

    @classmethod
    def load(cls, file: Path, device: str) -> TextSide:
        """Read what `train_text.py` saved."""
        return cls.build(torch.load(file, map_location=device), device)

    @torch.no_grad()
    def states(self, texts: list[str], distract: random.Random | None = None) -> torch.Tensor:
        """Return text states [batch, 77, hidden]."""
        ids = self.vocabulary.batch(texts, distract).to(self.device)
        return text_states(self.encoder, ids)
