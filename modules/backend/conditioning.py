"""A prompt to the tensor that steers the UNet."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import CLIPTextModel

from modules.prompt.tokens import ClipTokenizer


def encode(
    text_encoder: CLIPTextModel, tokenizer: ClipTokenizer, text: str, padding: int | None = None
) -> Tensor:
    """Return the conditioning of one prompt.

    Args:
        text_encoder: The checkpoint's text encoder; its last layer with the final norm is used.
        tokenizer: Splits the text into chunks of 75 tokens.
        text: Plain text of any length.
        padding: The token after the end mark; None repeats the mark.

    Returns:
        [1, 77 * chunks, hidden] in the text encoder's dtype, on its device.
    """
    ids = torch.tensor(tokenizer.chunks(text, padding), device=text_encoder.device)
    hidden = text_encoder(input_ids=ids).last_hidden_state  # [chunks, 77, hidden]
    return hidden.reshape(1, -1, hidden.shape[-1])
