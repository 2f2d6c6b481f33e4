"""Encodes the texts of a prompt to the UNet's cross-attention conditioning."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import CLIPTextModel

from modules.core.errors import UserError
from modules.prompt.chunks import Chunk, Chunker
from modules.prompt.schedule import active_text_index


@dataclass(frozen=True)
class Conditioning:
    """The encoded texts of a prompt over the steps of a run.

    Args:
        tensors: [1, 77 * chunks, hidden] for each text, all of the same length.
        until: The last step of each text; see `active_text_index`.
    """

    tensors: tuple[Tensor, ...]
    until: tuple[int, ...] = (1,)

    def at_step(self, index: int) -> Tensor:
        """Return the tensor for an evaluation of the network, counted from 0."""
        return self.tensors[active_text_index(self.until, index)]


def encode_texts(
    text_encoder: CLIPTextModel, chunker: Chunker, texts: Sequence[str], clip_skip: int = 1
) -> tuple[Tensor, ...]:
    """Return the conditioning of each text of one prompt.

    Shorter texts are padded with empty chunks. Each token's vector is multiplied by its weight; the chunk is then
    rescaled to its mean, one mean for that chunk of all the texts, if the emphasis mode does so (A1111).

    Args:
        text_encoder: The checkpoint's text encoder.
        chunker: Splits texts into chunks of 75 tokens, each with its weight.
        texts: Of any length, in order; a repeated text counts twice in the mean.
        clip_skip: 1 uses the last layer, 2 the one before it; the final norm is applied to either, as in A1111.

    Returns:
        [1, 77 * chunks, hidden] each, in the text encoder's dtype, on its device.

    Raises:
        UserError: the text encoder has fewer layers.
    """
    layer_count = text_encoder.config.num_hidden_layers
    if clip_skip > layer_count:
        raise UserError(
            f"Clip skip is {clip_skip}, but this checkpoint's text encoder has {layer_count} layers.",
            f"Use at most {layer_count}.",
        )
    counts = Counter(texts)
    chunked = {text: chunker.split_into_chunks(text) for text in counts}
    max_count = max(len(chunks) for chunks in chunked.values())
    (empty,) = chunker.split_into_chunks("")
    chunked = {
        text: chunks + [empty] * (max_count - len(chunks)) for text, chunks in chunked.items()
    }
    hidden = {
        text: _encode_chunks(text_encoder, chunks, clip_skip) for text, chunks in chunked.items()
    }
    if chunker.emphasis.applies_weights:
        hidden = _apply_weights(hidden, chunked, counts if chunker.emphasis.restores_mean else None)
    joined = {text: vectors.reshape(1, -1, vectors.shape[-1]) for text, vectors in hidden.items()}
    return tuple(joined[text] for text in texts)


def _encode_chunks(text_encoder: CLIPTextModel, chunks: Sequence[Chunk], clip_skip: int) -> Tensor:
    """Return the hidden states of each chunk, encoded separately: [chunks, 77, hidden]."""
    ids = torch.tensor([chunk.token_ids for chunk in chunks], device=text_encoder.device)
    if clip_skip == 1:
        return text_encoder(input_ids=ids).last_hidden_state
    states = text_encoder(input_ids=ids, output_hidden_states=True).hidden_states
    return text_encoder.final_layer_norm(states[-clip_skip])


def _apply_weights(
    hidden: Mapping[str, Tensor],
    chunked: Mapping[str, Sequence[Chunk]],
    counts: Mapping[str, int] | None,
) -> dict[str, Tensor]:
    """Return the vectors times their tokens' weights, rescaled to each chunk's mean if `counts` is not None."""
    if all(
        weight == 1 for chunks in chunked.values() for chunk in chunks for weight in chunk.weights
    ):
        return dict(hidden)  # bit for bit the result of the text without brackets
    weighted: dict[str, Tensor] = {}
    for text, vectors in hidden.items():
        weights = torch.tensor([chunk.weights for chunk in chunked[text]], device=vectors.device)
        weighted[text] = vectors * weights.to(vectors.dtype)[..., None]
    if counts is None:
        return weighted
    scale = _chunk_means(hidden, counts) / _chunk_means(weighted, counts)
    return {text: vectors * scale.to(vectors.dtype) for text, vectors in weighted.items()}


def _chunk_means(vectors: Mapping[str, Tensor], counts: Mapping[str, int]) -> Tensor:
    """Return each chunk's mean over all texts, [chunks, 1, 1]; repeated texts count repeatedly."""
    sums = [vectors[text].float().mean((1, 2)) * count for text, count in counts.items()]
    return (torch.stack(sums).sum(0) / sum(counts.values()))[:, None, None]


@dataclass(frozen=True)
class PromptConditioning:
    """The encoded prompt and negative prompt of a pass.

    Args:
        conds: The sub-prompts joined by AND.
        uncond: The negative prompt; its token count may differ.
        weights: Weight of each sub-prompt.
        empty_cond: The empty prompt, [1, 77, hidden], for padding the shorter side.
    """

    conds: tuple[Conditioning, ...]
    uncond: Conditioning
    weights: tuple[float, ...] = (1.0,)
    empty_cond: Tensor | None = None
