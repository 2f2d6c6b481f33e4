"""T2I-Adapter's style adapters by their headers: what they read, and the family that they fit."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from modules.models.files.header import TensorInfo

STYLE_KEYS = ("style_embedding", "transformer_layes.0.attn.in_proj_weight")  # spelled so
_LAYER = re.compile(r"transformer_layes\.(\d+)\..*")


@dataclass(frozen=True)
class StyleAdapterFacts:
    """Facts from the header of a style adapter.

    Args:
        image_width: Of an image encoder's hidden states.
        context_width: Of the text that a checkpoint's cross-attention gets.
        token_count: How many tokens it adds to the text.
        layer_count: Of its transformer.
    """

    image_width: int
    context_width: int
    token_count: int
    layer_count: int


def read_facts(tensors: Mapping[str, TensorInfo]) -> StyleAdapterFacts | str:
    """Return the facts from the header of a style adapter, or why it cannot be used, as the rest of a sentence.

    Args:
        tensors: By name, of the file.
    """
    layers = {int(match[1]) for name in tensors if (match := _LAYER.fullmatch(name))}
    try:
        _, token_count, _ = tensors["style_embedding"].shape
        image_width, context_width = tensors["proj"].shape
    except (KeyError, ValueError):
        return "is a T2I style adapter of a kind that this program does not know."
    return StyleAdapterFacts(image_width, context_width, token_count, len(layers))
