"""T2I-Adapter files by their headers: which network they hold, and the families that it fits."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from modules.models.files.header import TensorInfo

AdapterType = Literal["full_adapter", "full_adapter_xl", "light_adapter"]  # diffusers' names
_PREFIX = "adapter."  # of diffusers
_FIRST_CONV = ("conv_in.weight", "body.0.in_conv.weight")
_LIGHT_BLOCK = re.compile(r"body\.(\d+)\.(?:body|resnets)\.(\d+)\.block1\.weight")
_FULL_BLOCK = re.compile(r"body\.(\d+)\.resnets\.(\d+)\.block1\.weight")
_ORIGINAL_BLOCK = re.compile(r"body\.(\d+)\.block1\.weight")
_SD1_UNSHUFFLE, _SDXL_UNSHUFFLE = 8, 16
# By the inputs of the first convolution: a grey or RGB image whose squares of pixels became channels.
_UNSHUFFLE = {
    channels * side * side: (channels, side)
    for side in (_SD1_UNSHUFFLE, _SDXL_UNSHUFFLE)
    for channels in (1, 3)
}


@dataclass(frozen=True)
class T2IAdapterFacts:
    """Facts from the header of a T2I-Adapter.

    Args:
        adapter_type: The network, by diffusers' names.
        image_channels: Of the image that it reads: 1 takes the red one of an RGB image.
        unshuffle: Side in pixels of the squares that become channels.
        channels: Of its features.
        block_count: Residual blocks of each size.
        is_original: Whether the names are those of the published files, not diffusers'.
        prefix: Of all its names.
    """

    adapter_type: AdapterType
    image_channels: int
    unshuffle: int
    channels: tuple[int, ...]
    block_count: int
    is_original: bool
    prefix: str

    def file_key(self, key: str) -> str:
        """Return the key in the file of a key of diffusers' T2IAdapter."""
        name = key.removeprefix(_PREFIX)
        if not self.is_original:
            return self.prefix + name
        if self.adapter_type == "light_adapter":
            return self.prefix + name.replace(".resnets.", ".body.")
        match = re.fullmatch(r"body\.(\d+)\.(?:resnets\.(\d+)\.)?(.+)", name)
        if match is None:
            return self.prefix + name
        number = int(match[1]) * self.block_count + int(match[2] or 0)
        return f"{self.prefix}body.{number}.{match[3]}"


def read_facts(tensors: Mapping[str, TensorInfo]) -> T2IAdapterFacts | str:
    """Return the facts from the header of a T2I-Adapter, or why it cannot be used, as the rest of a sentence.

    Args:
        tensors: By name, of the file.
    """
    prefix = _PREFIX if any(name.startswith(_PREFIX) for name in tensors) else ""
    shapes = {
        name.removeprefix(prefix): info.shape
        for name, info in tensors.items()
        if name.startswith(prefix)
    }
    first = next((shapes[name] for name in _FIRST_CONV if name in shapes), None)
    unshuffle = None if first is None else _UNSHUFFLE.get(first[1])
    if unshuffle is None:
        return "is a T2I-Adapter of a kind that this program does not know."
    is_light = "conv_in.weight" not in shapes
    return (
        _read_light(shapes, unshuffle, prefix)
        if is_light
        else _read_full(shapes, unshuffle, prefix)
    )


Shapes = Mapping[str, tuple[int, ...]]


def _read_light(shapes: Shapes, unshuffle: tuple[int, int], prefix: str) -> T2IAdapterFacts:
    blocks = [match for name in shapes if (match := _LIGHT_BLOCK.fullmatch(name)) is not None]
    count = 1 + max(int(match[1]) for match in blocks)
    channels = tuple(shapes[f"body.{number}.out_conv.weight"][0] for number in range(count - 1))
    is_original = "body.0.body.0.block1.weight" in shapes
    block_count = 1 + max(int(match[2]) for match in blocks)
    return T2IAdapterFacts("light_adapter", *unshuffle, channels, block_count, is_original, prefix)


def _read_full(shapes: Shapes, unshuffle: tuple[int, int], prefix: str) -> T2IAdapterFacts:
    is_original = "body.0.block1.weight" in shapes
    sizes = 4  # of every published one
    if is_original:
        total = sum(_ORIGINAL_BLOCK.fullmatch(name) is not None for name in shapes)
        block_count = total // sizes
        channels = tuple(
            shapes[f"body.{number * block_count}.block1.weight"][0] for number in range(sizes)
        )
    else:
        blocks = [match for name in shapes if (match := _FULL_BLOCK.fullmatch(name)) is not None]
        block_count = 1 + max(int(match[2]) for match in blocks)
        channels = tuple(
            shapes[f"body.{number}.resnets.0.block1.weight"][0] for number in range(sizes)
        )
    is_sdxl = unshuffle[1] == _SDXL_UNSHUFFLE
    return T2IAdapterFacts(
        "full_adapter_xl" if is_sdxl else "full_adapter",
        *unshuffle,
        channels,
        block_count,
        is_original,
        prefix,
    )
