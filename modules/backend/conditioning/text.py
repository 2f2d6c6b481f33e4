"""Encodes the texts of a prompt to the UNet's cross-attention conditioning."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import CLIPTextModelWithProjection

from modules.backend.components import TextEncoder
from modules.backend.conditioning.embedding_vectors import (
    NO_VECTORS,
    AllVectors,
    Vectors,
    placed_vectors,
)
from modules.backend.memory.offload import execution_device
from modules.core.errors import UserError
from modules.prompt.chunks import Chunk, Chunker
from modules.prompt.schedule import active_text_index


@dataclass(frozen=True)
class Conditioning:
    """The encoded texts of a prompt over the steps of a run.

    Args:
        hidden: [1, 77 * chunks, hidden] for each text, all of the same length.
        until: The last step of each text; see `active_text_index`.
        pooled: [1, projection] for each text; None without a text encoder that has a projection.
        time_ids: The sizes that SDXL's UNet gets with it, [1, 5 or 6]; None for other UNets.
    """

    hidden: tuple[Tensor, ...]
    until: tuple[int, ...] = (1,)
    pooled: tuple[Tensor, ...] | None = None
    time_ids: Tensor | None = None

    def at_step(self, index: int) -> Tensor:
        """Return the hidden states for an evaluation of the network, counted from 0."""
        return self.hidden[active_text_index(self.until, index)]

    def pooled_at_step(self, index: int) -> Tensor | None:
        """Return the pooled output for that evaluation, None if there is none."""
        return None if self.pooled is None else self.pooled[active_text_index(self.until, index)]

    def with_time_ids(self, time_ids: Tensor | None) -> Conditioning:
        """Return it with these sizes; itself without."""
        return self if time_ids is None else replace(self, time_ids=time_ids)

    def zeroed(self) -> Conditioning:
        """Return it with zeros for hidden states and pooled output, which SDXL was trained on for no prompt."""
        return replace(
            self,
            hidden=tuple(map(torch.zeros_like, self.hidden)),
            pooled=None if self.pooled is None else tuple(map(torch.zeros_like, self.pooled)),
        )


class Cond(NamedTuple):
    """What the UNet gets of one prompt at one evaluation.

    Args:
        hidden: [1, tokens, hidden].
        pooled: [1, projection]; None without one.
        time_ids: [1, 5 or 6]; None for a UNet without micro-conditioning.
    """

    hidden: Tensor
    pooled: Tensor | None = None
    time_ids: Tensor | None = None

    @staticmethod
    def added_kwargs(conds: Sequence[Cond], batch: int) -> dict[str, dict[str, Tensor]]:
        """Return what diffusers' SDXL UNet gets in addition to the hidden states of a call; nothing for other UNets.

        Args:
            conds: Of the call, in order.
            batch: Images for each of them.
        """
        pooled = [cond.pooled.expand(batch, -1) for cond in conds if cond.pooled is not None]
        time_ids = [cond.time_ids.expand(batch, -1) for cond in conds if cond.time_ids is not None]
        if not pooled or not time_ids:
            return {}
        return {
            "added_cond_kwargs": {"text_embeds": torch.cat(pooled), "time_ids": torch.cat(time_ids)}
        }


class EncodedTexts(NamedTuple):
    """The texts of one prompt, encoded.

    Args:
        hidden: [1, 77 * chunks, hidden] for each text, in the text encoder's dtype, on its device.
        pooled: [1, projection] for each text, of its first chunk, without weights; None without a projection.
    """

    hidden: tuple[Tensor, ...]
    pooled: tuple[Tensor, ...] | None


def encode_with_all(
    text_encoders: Sequence[TextEncoder],
    chunkers: Sequence[Chunker],
    texts: Sequence[str],
    layers: Sequence[int],
    vectors: AllVectors = MappingProxyType({}),
) -> EncodedTexts:
    """Return the texts of one prompt, encoded by every text encoder of a model.

    Hidden states are joined along their width; pooled is that of the last text encoder with a projection.

    Args:
        text_encoders: Of the model.
        chunkers: Of each; they split every text into the same number of chunks.
        texts: As for `encode_texts`.
        layers: Likewise, of each.
        vectors: Of the embeddings in the texts, for each text encoder, by the embedding's name.

    Raises:
        UserError: a text encoder has fewer layers.
    """
    encoded = [
        encode_texts(
            text_encoder,
            chunker,
            texts,
            layer,
            {name: parts[index] for name, parts in vectors.items()},
        )
        for index, (text_encoder, chunker, layer) in enumerate(
            zip(text_encoders, chunkers, layers, strict=True)
        )
    ]
    if len(encoded) == 1:
        return encoded[0]
    hidden = tuple(
        torch.cat(parts, dim=-1) for parts in zip(*(e.hidden for e in encoded), strict=True)
    )
    pooled = [e.pooled for e in encoded if e.pooled is not None]
    return EncodedTexts(hidden, pooled[-1] if pooled else None)


def encode_texts(
    text_encoder: TextEncoder,
    chunker: Chunker,
    texts: Sequence[str],
    layer: int = 1,
    vectors: Vectors = NO_VECTORS,
) -> EncodedTexts:
    """Return the texts of one prompt, encoded by one text encoder.

    Shorter texts are padded with empty chunks. Each token's vector is multiplied by its weight; the chunk is then
    rescaled to its mean, one mean for that chunk of all the texts, if the emphasis mode does so (A1111).

    Args:
        text_encoder: One of the checkpoint's.
        chunker: Splits texts into chunks of 75 tokens, each with its weight.
        texts: Of any length, in order; a repeated text counts twice in the mean.
        layer: 1 takes the hidden states of the last layer, 2 of the one before it; see TextEncoder.layer_after_skip.
        vectors: Of the embeddings in the texts.

    Raises:
        UserError: the text encoder has fewer layers.
    """
    layer_count: int = text_encoder.network.config.num_hidden_layers
    if layer > layer_count:
        most = layer_count - text_encoder.hidden_layer + 1
        clip_skip = layer - text_encoder.hidden_layer + 1
        raise UserError(
            f"Clip skip is {clip_skip}, but this checkpoint's text encoder has {most} layers.",
            f"Use at most {most}.",
        )
    counts = Counter(texts)
    chunked = {text: chunker.split_into_chunks(text) for text in counts}
    max_count = max(len(chunks) for chunks in chunked.values())
    (empty,) = chunker.split_into_chunks("")
    chunked = {
        text: chunks + [empty] * (max_count - len(chunks)) for text, chunks in chunked.items()
    }
    encoded = {
        text: _encode_chunks(text_encoder, chunks, layer, vectors)
        for text, chunks in chunked.items()
    }
    hidden = {text: states for text, (states, _) in encoded.items()}
    if chunker.emphasis.applies_weights:
        hidden = _apply_weights(hidden, chunked, counts if chunker.emphasis.restores_mean else None)
    joined = {text: vectors.reshape(1, -1, vectors.shape[-1]) for text, vectors in hidden.items()}
    pooled = [vector for text in texts if (vector := encoded[text][1]) is not None]
    return EncodedTexts(tuple(joined[text] for text in texts), tuple(pooled) or None)


def _encode_chunks(
    text_encoder: TextEncoder, chunks: Sequence[Chunk], layer: int, vectors: Vectors
) -> tuple[Tensor, Tensor | None]:
    """Return the hidden states of each chunk, encoded separately, [chunks, 77, hidden], and the first's pooled output."""
    network, final_norm = text_encoder.network, text_encoder.final_norm
    ids = torch.tensor([chunk.token_ids for chunk in chunks], device=execution_device(network))
    with placed_vectors(network.get_input_embeddings(), chunks, vectors):
        output = network(input_ids=ids, output_hidden_states=layer > 1 or not final_norm)
    pooled: Tensor | None = None
    tower: Any = network  # transformers does not annotate the parts of its models
    if isinstance(network, CLIPTextModelWithProjection):
        pooled, tower = output.text_embeds[:1], network.text_model
    if not final_norm:
        return output.hidden_states[-layer], pooled
    if layer == 1:
        return output.last_hidden_state, pooled
    return tower.final_layer_norm(output.hidden_states[-layer]), pooled


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
