"""How many weights each part of a model has, read from headers alone, to estimate its memory before it is loaded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path

from modules.models.files.header import TensorInfo, read_header
from modules.models.ldm.keys import UNET_INPUT_KEY, UNET_PREFIX, VAE_PREFIX
from modules.models.model_spec import ModelSpec


@dataclass(frozen=True)
class WeightCounts:
    """The numbers of weights of a model's parts.

    Args:
        unet: Of the UNet.
        unet_block: Of its largest part that is moved as a whole: one ResNet block, or the transformer next to it.
        vae: Of the VAE.
        text_encoders: Of each text encoder.
        unet_width: Channels of the UNet's first feature map.
    """

    unet: int
    unet_block: int
    vae: int
    text_encoders: tuple[int, ...]
    unet_width: int

    @property
    def total(self) -> int:
        """Return the number of all weights."""
        return self.unet + self.vae + sum(self.text_encoders)


def count_weights(spec: ModelSpec) -> WeightCounts:
    """Return the numbers of weights of a model, with those of its separate files in place of the checkpoint's own.

    Raises:
        NotFound: a file is gone.
        BadFile: a file cannot be read.
    """
    tensors = read_header(spec.checkpoint.path).tensors
    vae = tensors if spec.vae is None else read_header(spec.vae.path).tensors
    blocks = _count_unet_blocks(tensors)
    slots = spec.family.text_encoders
    text_encoders = tuple(
        _count(tensors, slot.prefix) if file is None else _count(read_header(file.path).tensors)
        for slot, file in zip(slots, spec.text_encoders, strict=False)
    )
    first = tensors.get(UNET_INPUT_KEY)
    return WeightCounts(
        unet=blocks.total(),
        unet_block=max(blocks.values(), default=0),
        vae=_count(vae, VAE_PREFIX if spec.vae is None else ""),
        text_encoders=text_encoders,
        unet_width=first.shape[0] if first is not None else 0,
    )


def count_file_weights(path: Path) -> int:
    """Return the number of all weights in a file.

    Raises:
        NotFound: it is gone.
        BadFile: it cannot be read.
    """
    return _count(read_header(path).tensors)


def _count_unet_blocks(tensors: Mapping[str, TensorInfo]) -> Counter[str]:
    """Return the weights by part, such as "input_blocks.4.1"; "" for what lies outside the blocks."""
    counts: Counter[str] = Counter()
    for name, info in tensors.items():
        if name.startswith(UNET_PREFIX):
            parts = name.removeprefix(UNET_PREFIX).split(".")
            depth = {"input_blocks": 3, "output_blocks": 3, "middle_block": 2}.get(parts[0], 0)
            counts[".".join(parts[:depth])] += prod(info.shape)
    return counts


def _count(tensors: Mapping[str, TensorInfo], prefix: str = "") -> int:
    return sum(prod(info.shape) for name, info in tensors.items() if name.startswith(prefix))
