"""Runs networks of .tflite files in torch: the operators that those of MediaPipe have."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from modules.core.errors import BadFile
from modules.models.files.tflite import Graph, Operator, read_tflite

_ACTIVATIONS: Mapping[int, Callable[[Tensor], Tensor]] = {
    0: lambda x: x,
    1: functional.relu,
    3: functional.relu6,
}
_MAX_BYTES = 2**26

# From the operator, its inputs in torch's order of dimensions, and the shape of its output to the output.
_Run = Callable[[Operator, list[Tensor], tuple[int, ...]], Tensor]


class TfliteNetwork:
    """A network of a .tflite file, in 32-bit floats.

    Args:
        file: The file.
        device: Where it computes.

    Raises:
        BadFile: it cannot be read.
    """

    def __init__(self, file: Path, device: torch.device) -> None:
        self._graph = _read(file)
        self._device = device
        constants = {
            number: torch.from_numpy(np.array(values, copy=True))
            for number, values in self._graph.constants.items()
        }
        # What the file stores in 16 bits or sparsely is made ready once.
        self._constants = {
            number: value.float() if value.is_floating_point() else value
            for number, value in constants.items()
        }
        self._operators: list[Operator] = []
        for operator in self._graph.operators:
            if operator.kind in ("dequantize", "densify"):
                self._constants[operator.outputs[0]] = self._constants[operator.inputs[0]]
            else:
                self._operators.append(operator)
        self._constants = {
            number: value.to(device) if value.is_floating_point() else value
            for number, value in self._constants.items()
        }

    @property
    def input_size(self) -> tuple[int, int]:
        """Return width and height of the picture that it takes."""
        _, height, width, _ = self._graph.shapes[self._graph.inputs[0]]
        return width, height

    def run(self, pixels: Tensor) -> dict[str, Tensor]:
        """Return its results by their names in the file.

        Args:
            pixels: float32 [1, 3, height, width] of its size.
        """
        graph = self._graph
        values: dict[int, Tensor] = {graph.inputs[0]: pixels.to(self._device)}
        for operator in self._operators:
            inputs = [
                values[number] if number in values else self._constants[number]
                for number in operator.inputs
                if number >= 0
            ]
            output = operator.outputs[0]
            values[output] = _OPERATORS[operator.kind](operator, inputs, graph.shapes[output])
        return {name: values[number] for name, number in graph.outputs.items()}


def _read(file: Path) -> Graph:
    try:
        with file.open("rb") as opened:
            content = opened.read(_MAX_BYTES)
    except OSError as error:
        raise BadFile(
            f"'{file.name}' cannot be read: {error.strerror or error}.", "Download it again."
        ) from error
    return read_tflite(content, file.name)


def _activate(operator: Operator, x: Tensor) -> Tensor:
    return _ACTIVATIONS[operator.options["activation"]](x)


def _pad_same(operator: Operator, x: Tensor, kernel: tuple[int, int], fill: float = 0) -> Tensor:
    """Return a picture padded as TensorFlow does it for "SAME": one more at the end where the sum is odd."""
    if operator.options["is_valid"]:
        return x
    strides = operator.options["stride_y"], operator.options["stride_x"]
    totals = [
        max(0, (-(-side // stride) - 1) * stride + size - side)
        for side, stride, size in zip(x.shape[2:], strides, kernel, strict=True)
    ]
    (top, left) = (total // 2 for total in totals)
    return functional.pad(x, (left, totals[1] - left, top, totals[0] - top), value=fill)


def _strides(operator: Operator) -> tuple[int, int]:
    return operator.options["stride_y"], operator.options["stride_x"]


def _convolve(operator: Operator, inputs: list[Tensor], _shape: tuple[int, ...]) -> Tensor:
    x, kernel, *bias = inputs
    kernel = kernel.permute(0, 3, 1, 2)
    x = _pad_same(operator, x, (kernel.shape[2], kernel.shape[3]))
    return _activate(operator, functional.conv2d(x, kernel, *bias, stride=_strides(operator)))


def _convolve_depthwise(
    operator: Operator, inputs: list[Tensor], _shape: tuple[int, ...]
) -> Tensor:
    x, kernel, *bias = inputs
    kernel = kernel.permute(3, 0, 1, 2)
    x = _pad_same(operator, x, (kernel.shape[2], kernel.shape[3]))
    result = functional.conv2d(x, kernel, *bias, stride=_strides(operator), groups=x.shape[1])
    return _activate(operator, result)


def _pool(operator: Operator, inputs: list[Tensor], _shape: tuple[int, ...]) -> Tensor:
    size = operator.options["height"], operator.options["width"]
    x = _pad_same(operator, inputs[0], size, fill=-torch.inf)
    return functional.max_pool2d(x, size, _strides(operator))


def _add(operator: Operator, inputs: list[Tensor], _shape: tuple[int, ...]) -> Tensor:
    return _activate(operator, inputs[0] + inputs[1])


def _connect(operator: Operator, inputs: list[Tensor], _shape: tuple[int, ...]) -> Tensor:
    x, weight, *bias = inputs
    return _activate(operator, functional.linear(x.reshape(-1, weight.shape[1]), weight, *bias))


def _reshape(_operator: Operator, inputs: list[Tensor], shape: tuple[int, ...]) -> Tensor:
    x = inputs[0].permute(0, 2, 3, 1) if inputs[0].ndim == 4 else inputs[0]
    x = x.reshape(shape)
    return x.permute(0, 3, 1, 2) if len(shape) == 4 else x


def _resize(operator: Operator, inputs: list[Tensor], shape: tuple[int, ...]) -> Tensor:
    size, options = (shape[1], shape[2]), operator.options
    if options["aligns_corners"] or options["has_half_pixels"]:
        corners = bool(options["aligns_corners"])
        return functional.interpolate(inputs[0], size, mode="bilinear", align_corners=corners)
    return _stretch(_stretch(inputs[0], 2, size[0]), 3, size[1])


def _stretch(x: Tensor, axis: int, length: int) -> Tensor:
    """Return a picture stretched along an axis as TensorFlow 1 did: without half a pixel at the ends."""
    side = x.shape[axis]
    places = torch.arange(length, device=x.device) * (side / length)
    low = places.floor().long().clamp(max=side - 1)
    share = (places - low).view(-1, *[1] * (x.ndim - axis - 1))
    high = (low + 1).clamp(max=side - 1)
    return x.index_select(axis, low) * (1 - share) + x.index_select(axis, high) * share


def _pad(_operator: Operator, inputs: list[Tensor], _shape: tuple[int, ...]) -> Tensor:
    x, amounts = inputs
    (_, (top, bottom), (left, right), (front, back)) = amounts.tolist()
    return functional.pad(x, (left, right, top, bottom, front, back))


def _take_mean(_operator: Operator, inputs: list[Tensor], shape: tuple[int, ...]) -> Tensor:
    axes = [(0, 2, 3, 1)[int(axis)] for axis in inputs[1].flatten()]
    return inputs[0].mean(axes, keepdim=len(shape) == 4)


def _prelu(_operator: Operator, inputs: list[Tensor], _shape: tuple[int, ...]) -> Tensor:
    x, slope = inputs
    slope = slope.permute(2, 0, 1) if slope.ndim == 3 else slope
    return torch.where(x >= 0, x, x * slope)


def _to_space(operator: Operator, inputs: list[Tensor], shape: tuple[int, ...]) -> Tensor:
    x, block = inputs[0], operator.options["block"]
    _, height, width, channels = shape
    blocks = x.view(1, block, block, channels, height // block, width // block)
    return blocks.permute(0, 3, 4, 1, 5, 2).reshape(1, channels, height, width)


def _concatenate(operator: Operator, inputs: list[Tensor], shape: tuple[int, ...]) -> Tensor:
    axis = operator.options["axis"] % len(shape)
    return torch.cat(inputs, (0, 2, 3, 1)[axis] if len(shape) == 4 else axis)


_OPERATORS: Mapping[str, _Run] = {
    "add": _add,
    "concatenate": _concatenate,
    "convolution": _convolve,
    "depthwise convolution": _convolve_depthwise,
    "depth to space": _to_space,
    "fully connected": _connect,
    "max pool": _pool,
    "mean": _take_mean,
    "pad": _pad,
    "prelu": _prelu,
    "relu": lambda _operator, inputs, _shape: functional.relu(inputs[0]),
    "reshape": _reshape,
    "resize": _resize,
    "sigmoid": lambda _operator, inputs, _shape: inputs[0].sigmoid(),
}
