"""CLIP vision encoders by their headers: their sizes, and the one that an IP-Adapter reads."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from modules.models.files.header import TensorInfo

_CLASS_KEYS = {
    "vision_model.": "vision_model.embeddings.class_embedding",
    "visual.": "visual.class_embedding",
}
# Width of a head where it is not the usual one: ViT-H and ViT-bigG have 16 heads.
_HEADS = {1280: 16, 1664: 16}
_USUAL_HEAD = 64
_QUICK_GELU_WIDTHS = (768, 1024)  # OpenAI's ViT-B and ViT-L


@dataclass(frozen=True)
class VisionFacts:
    """Facts from the header of a CLIP vision encoder.

    Args:
        is_open_clip: Whether the names are OpenCLIP's, not transformers'.
        width: Of its hidden states.
        projection_width: Of the image's embedding.
        layer_count: Of its transformer.
        mlp_width: Likewise.
        patch_size: Side of a patch in pixels.
        image_size: Side of the image that it takes, in pixels.
    """

    is_open_clip: bool
    width: int
    projection_width: int
    layer_count: int
    mlp_width: int
    patch_size: int
    image_size: int

    @property
    def head_count(self) -> int:
        """Return the heads of its attention."""
        return _HEADS.get(self.width, max(1, self.width // _USUAL_HEAD))

    @property
    def activation(self) -> str:
        """Return the activation function by transformers' name."""
        return "quick_gelu" if self.width in _QUICK_GELU_WIDTHS else "gelu"

    def gives(self, width: int, *, hidden: bool) -> bool:
        """Return whether its hidden states, or its embedding, have a width."""
        return width == (self.width if hidden else self.projection_width)


def read_facts(tensors: Mapping[str, TensorInfo]) -> VisionFacts | None:
    """Return the facts from the header of a CLIP vision encoder; None for one that lacks a part of it.

    Args:
        tensors: By name, of the file.
    """
    shapes = {name: info.shape for name, info in tensors.items()}
    try:
        return _read(shapes, is_open_clip=_CLASS_KEYS["visual."] in shapes)
    except (KeyError, ValueError, IndexError):
        return None


def _read(shapes: Mapping[str, tuple[int, ...]], *, is_open_clip: bool) -> VisionFacts:
    if is_open_clip:
        conv, positions = "visual.conv1.weight", shapes["visual.positional_embedding"][0]
        projection = shapes["visual.proj"][1]
        block, mlp = (
            r"visual\.transformer\.resblocks\.(\d+)\..*",
            "visual.transformer.resblocks.0.mlp.c_fc.weight",
        )
    else:
        conv = "vision_model.embeddings.patch_embedding.weight"
        positions = shapes["vision_model.embeddings.position_embedding.weight"][0]
        projection = shapes["visual_projection.weight"][0]
        block, mlp = (
            r"vision_model\.encoder\.layers\.(\d+)\..*",
            "vision_model.encoder.layers.0.mlp.fc1.weight",
        )
    width, _, patch_size, _ = shapes[conv]
    layers = [int(match[1]) for name in shapes if (match := re.fullmatch(block, name)) is not None]
    return VisionFacts(
        is_open_clip,
        width,
        projection,
        1 + max(layers),
        shapes[mlp][0],
        patch_size,
        patch_size * math.isqrt(positions - 1),
    )


@dataclass(frozen=True)
class KnownEncoder:
    """A published image encoder, for messages.

    Args:
        name: Of the network.
        example: A file of it.
        source: Where that is published.
        width: Of its hidden states.
        projection_width: Of its embedding.
    """

    name: str
    example: str
    source: str
    width: int
    projection_width: int


KNOWN_ENCODERS = (
    KnownEncoder(
        "CLIP ViT-H",
        "CLIP-ViT-H-14-laion2B-s32B-b79K.safetensors",
        "huggingface.co/h94/IP-Adapter, models/image_encoder",
        1280,
        1024,
    ),
    KnownEncoder(
        "CLIP ViT-bigG",
        "CLIP-ViT-bigG-14-laion2B-39B-b160k.safetensors",
        "huggingface.co/h94/IP-Adapter, sdxl_models/image_encoder",
        1664,
        1280,
    ),
    KnownEncoder(
        "CLIP ViT-L",
        "clip-vit-large-patch14.safetensors",
        "huggingface.co/openai/clip-vit-large-patch14",
        1024,
        768,
    ),
)
CLIP_VISION_FOLDER = "models/clip_vision"


def describe_missing_encoder(width: int, *, hidden: bool) -> str:
    """Return which image encoder is missing and where it belongs, as a remedy.

    Args:
        width: Of what is read from it.
        hidden: Whether that is its hidden states, not its embedding.
    """
    for known in KNOWN_ENCODERS:
        if width == (known.width if hidden else known.projection_width):
            return f"Put {known.name} into {CLIP_VISION_FOLDER}, such as '{known.example}' from {known.source}."
    kind = "hidden states" if hidden else "an embedding"
    return f"Put a CLIP vision encoder that gives {kind} {width} wide into {CLIP_VISION_FOLDER}."
