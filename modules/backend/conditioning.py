"""A prompt to the tensor that steers the UNet."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import CLIPTextModel

from modules.core.errors import UserError
from modules.prompt.tokens import ClipTokenizer


def encode(
    text_encoder: CLIPTextModel,
    tokenizer: ClipTokenizer,
    text: str,
    padding: int | None = None,
    clip_skip: int = 1,
) -> Tensor:
    """Return the conditioning of one prompt.

    Args:
        text_encoder: The checkpoint's text encoder.
        tokenizer: Splits the text into chunks of 75 tokens.
        text: Plain text of any length.
        padding: The token after the end mark; None repeats the mark.
        clip_skip: 1 uses the last layer, 2 the one before it; the final norm follows either, as in A1111.

    Returns:
        [1, 77 * chunks, hidden] in the text encoder's dtype, on its device.

    Raises:
        UserError: the text encoder has fewer layers.
    """
    layer_count = text_encoder.config.num_hidden_layers
    if clip_skip > layer_count:
        raise UserError(
            f"Clip skip is {clip_skip}, but this checkpoint's text encoder has {layer_count} layers.",
            f"Use at most {layer_count}.",
        )
    ids = torch.tensor(tokenizer.chunks(text, padding), device=text_encoder.device)
    if clip_skip == 1:
        hidden = text_encoder(input_ids=ids).last_hidden_state  # [chunks, 77, hidden]
    else:
        states = text_encoder(input_ids=ids, output_hidden_states=True).hidden_states
        hidden = text_encoder.final_layer_norm(states[-clip_skip])
    return hidden.reshape(1, -1, hidden.shape[-1])
