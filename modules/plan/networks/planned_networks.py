"""Networks of a planned pass: the files that its prompts name, with their weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from modules.models.networks.embeddings import Embedding
from modules.models.networks.hypernetworks import HypernetworkUse
from modules.plan.networks.loras import LoraUse
from modules.prompt.embeddings import NO_EMBEDDINGS, EmbeddingWords


@dataclass(frozen=True)
class PlannedNetworks:
    """The networks that a pass adds to its checkpoint.

    Args:
        loras: In the order of the prompt.
        hypernetworks: Likewise.
        embeddings: Of the prompt and the negative prompt.
        words: Theirs.
        ti_hashes: The hashes of the embeddings, as the infotext lists them.
    """

    loras: tuple[LoraUse, ...] = ()
    hypernetworks: tuple[HypernetworkUse, ...] = ()
    embeddings: tuple[Embedding, ...] = ()
    words: EmbeddingWords = NO_EMBEDDINGS
    ti_hashes: str = ""

    @property
    def paths(self) -> tuple[Path, ...]:
        """Return the files."""
        files = (use.file for use in (*self.loras, *self.hypernetworks, *self.embeddings))
        return tuple(file.path for file in files)


NO_NETWORKS = PlannedNetworks()
