"""The small CLIP text encoder of the demo checkpoints."""

from __future__ import annotations

import torch
from transformers import CLIPTextConfig, CLIPTextModel

from tools.demo_model.tokens import (
    COMPACT_BOS,
    COMPACT_EOS,
    CONTEXT_LENGTH,
    UNKNOWN,
)

HIDDEN, LAYERS, HEADS = 32, 2, 4


def make_text_encoder(
    vocabulary_size: int, layers: int = LAYERS, activation: str = "quick_gelu"
) -> CLIPTextModel:
    """Return an untrained text encoder; the row of unknown words is zero."""
    model = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=vocabulary_size,
            hidden_size=HIDDEN,
            intermediate_size=4 * HIDDEN,
            num_hidden_layers=layers,
            num_attention_heads=HEADS,
            max_position_embeddings=CONTEXT_LENGTH,
            hidden_act=activation,
            projection_dim=HIDDEN,
            bos_token_id=COMPACT_BOS,
            eos_token_id=COMPACT_EOS,
            pad_token_id=COMPACT_EOS,
        )
    )
    with torch.no_grad():
        rows = model.get_input_embeddings().weight
        rows.normal_(std=0.1)
        rows[UNKNOWN] = 0
    return model


def text_states(model: CLIPTextModel, ids: torch.Tensor) -> torch.Tensor:
    """Return the text states [batch, 77, hidden] that the UNet attends to."""
    return model(ids).last_hidden_state
