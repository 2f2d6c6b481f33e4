"""Reads the upscalers of Real-ESRGAN from ncnn's files: a list of layers (.param) and their numbers (.bin)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from modules.core.errors import BadFile

_MAGIC = "7767517"  # first line of a .param
_HALF_PRECISION = 0x01306B47  # marks weights in 16 bits
_OUTPUTS, _KERNEL, _WEIGHTS = 0, 1, 6  # parameters of a convolution, by their numbers
_BLOCK_CONVOLUTIONS = 15  # three dense blocks of five
_OUTER_CONVOLUTIONS = ("conv_body", "conv_up1", "conv_up2", "conv_hr", "conv_last")
_MAX_LAYERS = 10_000

Array = NDArray[Any]


class _Layer(NamedTuple):
    """A layer with numbers: a convolution, or the slopes of a PReLU without a bias."""

    weight: Array
    bias: Array | None = None


def read_real_esrgan(name: str, param: bytes, numbers: bytes) -> Mapping[str, Array]:
    """Return the tensors of one of Real-ESRGAN's networks under the names of its trainer.

    Args:
        name: Of the files, for messages.
        param: The .param.
        numbers: The .bin; its weights have 16 bits, the rest 32.

    Raises:
        BadFile: they are damaged, or of another network.
    """
    try:
        layers = list(_read_layers(param.decode(), numbers))
    except (ValueError, LookupError, ArithmeticError) as error:
        raise BadFile(f"'{name}' is damaged, or no network of ncnn: {error}.") from error
    if any(layer.bias is None for layer in layers):
        names = [f"body.{index}" for index in range(len(layers))]
    else:
        names = _residual_names(name, len(layers))
    tensors: dict[str, Array] = {}
    for prefix, layer in zip(names, layers, strict=True):
        tensors[f"{prefix}.weight"] = layer.weight
        if layer.bias is not None:
            tensors[f"{prefix}.bias"] = layer.bias
    return tensors


def to_safetensors(tensors: Mapping[str, Array], source: str) -> bytes:
    """Return the content of a .safetensors file.

    Args:
        tensors: By name.
        source: What they were converted from, for its metadata.
    """
    return save(dict(tensors), {"format": "pt", "converted_from": source})


def _residual_names(name: str, count: int) -> list[str]:
    """Return the names of the convolutions of an RRDBNet, in order."""
    blocks, rest = divmod(count - 1 - len(_OUTER_CONVOLUTIONS), _BLOCK_CONVOLUTIONS)
    if blocks < 1 or rest:
        raise BadFile(f"'{name}' has {count} convolutions; no network of Real-ESRGAN has so many.")
    dense = [
        f"body.{block}.rdb{part}.conv{index}"
        for block in range(blocks)
        for part in range(1, 4)
        for index in range(1, 6)
    ]
    return ["conv_first", *dense, *_OUTER_CONVOLUTIONS]


def _read_layers(param: str, numbers: bytes) -> Iterator[_Layer]:
    """Yield the layers that have numbers, in the order of both files."""
    magic, _, *lines = param.splitlines()
    if magic != _MAGIC or len(lines) > _MAX_LAYERS:
        raise ValueError("the list of layers does not begin as such")
    position, inputs = 0, 3

    def take(dtype: str, count: int) -> Array:
        nonlocal position
        taken = np.frombuffer(numbers, dtype, count, position)
        position += -(-taken.nbytes // 4) * 4
        return taken

    for line in lines:
        kind, _, input_count, output_count, *rest = line.split()
        values = {
            int(key): value
            for key, _, value in (
                item.partition("=") for item in rest[int(input_count) + int(output_count) :]
            )
        }
        if kind == "Convolution":
            outputs, kernel = int(values[_OUTPUTS]), int(values[_KERNEL])
            if int(take("<u4", 1)[0]) != _HALF_PRECISION:
                raise ValueError("its weights are not in 16 bits")
            inputs = int(values[_WEIGHTS]) // (outputs * kernel * kernel)
            weight = take("<f2", int(values[_WEIGHTS]))
            shaped: Array = weight.reshape((outputs, inputs, kernel, kernel))  # pyright: ignore[reportUnknownMemberType]
            yield _Layer(shaped, take("<f4", outputs))
        elif kind == "PReLU":
            yield _Layer(take("<f4", int(values[_OUTPUTS])))
    if position != len(numbers):
        raise ValueError(f"{len(numbers) - position} bytes too many")
