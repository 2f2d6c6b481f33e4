"""The texts of a prompt to the tensors that steer the UNet."""

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
    """What a prompt says in the course of a run.

    Args:
        tensors: [1, 77 * chunks, hidden] for each of its texts, all of one length.
        until: The last step of each text; see `index_at`.
    """

    tensors: tuple[Tensor, ...]
    until: tuple[int, ...] = (1,)

    def at_step(self, index: int) -> Tensor:
        """Return what holds at an evaluation of the network, counted from 0."""
        return self.tensors[active_text_index(self.until, index)]


def encode_texts(
    text_encoder: CLIPTextModel, chunker: Chunker, texts: Sequence[str], clip_skip: int = 1
) -> tuple[Tensor, ...]:
    """Return the conditioning of each text of one prompt.

    Shorter texts are filled up with empty chunks. Each token's vector is multiplied with its weight; the chunk is then
    scaled back to its mean, one mean for that chunk of all the texts, where the emphasis mode says so (A1111).

    Args:
        text_encoder: The checkpoint's text encoder.
        chunker: Cuts texts into chunks of 75 tokens, each with its weight.
        texts: Of any length, in order; one that comes twice counts twice in the mean.
        clip_skip: 1 uses the last layer, 2 the one before it; the final norm follows either, as in A1111.

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
    times = Counter(texts)
    cut = {text: chunker.split_into_chunks(text) for text in times}
    longest = max(len(chunks) for chunks in cut.values())
    (empty,) = chunker.split_into_chunks("")
    cut = {text: chunks + [empty] * (longest - len(chunks)) for text, chunks in cut.items()}
    hidden = {text: _hidden(text_encoder, chunks, clip_skip) for text, chunks in cut.items()}
    if chunker.emphasis.applies_weights:
        hidden = _weighted(hidden, cut, times if chunker.emphasis.restores_mean else None)
    joined = {text: vectors.reshape(1, -1, vectors.shape[-1]) for text, vectors in hidden.items()}
    return tuple(joined[text] for text in texts)


def _hidden(text_encoder: CLIPTextModel, chunks: Sequence[Chunk], clip_skip: int) -> Tensor:
    """Return what the text encoder makes of each chunk alone, [chunks, 77, hidden]."""
    ids = torch.tensor([chunk.token_ids for chunk in chunks], device=text_encoder.device)
    if clip_skip == 1:
        return text_encoder(input_ids=ids).last_hidden_state
    states = text_encoder(input_ids=ids, output_hidden_states=True).hidden_states
    return text_encoder.final_layer_norm(states[-clip_skip])


def _weighted(
    hidden: Mapping[str, Tensor],
    cut: Mapping[str, Sequence[Chunk]],
    times: Mapping[str, int] | None,
) -> dict[str, Tensor]:
    """Return the vectors times their tokens' weights, scaled back to each chunk's mean if `times` is given."""
    if all(weight == 1 for chunks in cut.values() for one in chunks for weight in one.weights):
        return dict(hidden)  # bit for bit what the text without brackets gives
    weighted: dict[str, Tensor] = {}
    for text, vectors in hidden.items():
        weights = torch.tensor([chunk.weights for chunk in cut[text]], device=vectors.device)
        weighted[text] = vectors * weights.to(vectors.dtype)[..., None]
    if times is None:
        return weighted
    scale = _means(hidden, times) / _means(weighted, times)
    return {text: vectors * scale.to(vectors.dtype) for text, vectors in weighted.items()}


def _means(vectors: Mapping[str, Tensor], times: Mapping[str, int]) -> Tensor:
    """Return each chunk's mean over all texts, [chunks, 1, 1]; a text counts as often as it comes."""
    sums = [vectors[text].float().mean((1, 2)) * count for text, count in times.items()]
    return (torch.stack(sums).sum(0) / sum(times.values()))[:, None, None]


@dataclass(frozen=True)
class PromptConditioning:
    """What the prompts have become.

    Args:
        conds: The prompts that steer together.
        uncond: The negative prompt; its token count may differ.
        weights: How much each of the prompts counts.
        empty_cond: The empty prompt, [1, 77, hidden], for filling up the shorter side.
    """

    conds: tuple[Conditioning, ...]
    uncond: Conditioning
    weights: tuple[float, ...] = (1.0,)
    empty_cond: Tensor | None = None
