"""Reads the vectors of textual-inversion embeddings from their files."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import torch
from torch import Tensor

from modules.backend.loading.state_dict import read_state_dict, read_tensor
from modules.core.errors import BadFile, NotFound
from modules.models.files.header import read_header
from modules.models.files.picture_embedding import read_picture_embedding
from modules.models.networks.embeddings import Embedding

Vectors = Mapping[
    str, Tensor
]  # [vectors, width] by the name of the embedding, for one text encoder
NO_VECTORS: Vectors = {}


def read_all_vectors(embeddings: Iterable[Embedding]) -> dict[str, tuple[Tensor, ...]]:
    """Return the vectors of embeddings by their names; see `read_vectors`."""
    return {embedding.name: read_vectors(embedding) for embedding in embeddings}


def read_vectors(embedding: Embedding) -> tuple[Tensor, ...]:
    """Return the vectors of an embedding for each text encoder, float32 [vectors, width], on the CPU.

    Raises:
        NotFound: its file is gone.
        BadFile: it has changed, or has invalid numbers.
    """
    name = embedding.file.file_name
    try:
        tensors = _read_tensors(embedding)
        vectors = tuple(tensors[key].float().reshape(-1, width) for key, width in _parts(embedding))
    except FileNotFoundError as error:
        raise NotFound(f"The embedding '{name}' is gone.", "Put the file back.") from error
    except (KeyError, ValueError, RuntimeError, OSError) as error:
        raise BadFile(f"The embedding '{name}' has changed.", "Refresh the list.") from error
    if any(len(part) != embedding.vector_count for part in vectors):
        raise BadFile(f"The embedding '{name}' has changed.", "Refresh the list.")
    if not all(bool(torch.isfinite(part).all()) for part in vectors):
        raise BadFile(
            f"The embedding '{name}' is damaged: it has invalid numbers (NaN).",
            "Download it again, or take its name out of the prompt.",
        )
    return vectors


def _parts(embedding: Embedding) -> Iterator[tuple[str, int]]:
    return zip(embedding.keys, embedding.widths, strict=True)


def _read_tensors(embedding: Embedding) -> Mapping[str, Tensor]:
    path = embedding.file.path
    if embedding.is_picture:
        found = read_picture_embedding(path)
        arrays = found.tensors if found else {}
        return {key: torch.from_numpy(arrays[key]) for key in embedding.keys}
    state_dict = read_state_dict(path, read_header(path))
    return {key: read_tensor(state_dict, state_dict[key]) for key in embedding.keys}
