"""Puts the vectors of embeddings in the place of token embeddings while a text encoder runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType

from torch import Tensor, nn

from modules.prompt.chunks import Chunk

# By the name of the embedding: [vectors, width] for each text encoder, and for one of them.
AllVectors = Mapping[str, tuple[Tensor, ...]]
Vectors = Mapping[str, Tensor]
NO_VECTORS: Mapping[str, Tensor] = MappingProxyType({})


@contextmanager
def placed_vectors(
    token_embedding: nn.Module, chunks: Sequence[Chunk], vectors: Vectors
) -> Iterator[None]:
    """Let a text encoder see the vectors in the places of their tokens.

    Args:
        token_embedding: Of the text encoder; its next output is of these chunks, [chunks, 77, width].
        chunks: With the places.
        vectors: Of all embeddings in them.
    """
    if not any(chunk.embeddings for chunk in chunks):
        yield
        return

    def place(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor:
        output = output.clone()
        for row, chunk in zip(output, chunks, strict=True):
            for placed in chunk.embeddings:
                part = vectors[placed.word.name][: len(row) - placed.offset].to(row)
                row[placed.offset : placed.offset + len(part)] = part
        return output

    handle = token_embedding.register_forward_hook(place)
    try:
        yield
    finally:
        handle.remove()
