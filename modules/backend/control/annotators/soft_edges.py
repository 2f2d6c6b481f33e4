"""Soft edges: HED (Xie and Tu, 2015) as trained anew for ControlNet 1.1, and PiDiNet (Su et al., 2021)."""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from modules.backend.control.annotators.weights import to_grey, to_tensor
from modules.images.preprocessors.sizes import Pixels

_SAFE_STEPS = 2
_HED_BLOCKS = ((3, 64, 2), (64, 128, 2), (128, 256, 3), (256, 512, 3), (512, 512, 3))
_PIDINET_WIDTH, _PIDINET_DILATION = 60, 24
# PiDiNet's pattern of convolutions, "carv4": central, angular and radial differences, and plain ones.
_PATTERN: tuple[Literal["central", "angular", "radial", "plain"], ...] = (
    "central",
    "angular",
    "radial",
    "plain",
)
_CLOCKWISE = [3, 0, 1, 6, 4, 2, 7, 8, 5]  # the neighbour of each place of a 3x3 kernel
_OUTER_RING = [0, 2, 4, 10, 14, 20, 22, 24]  # of a 5x5 kernel, with the places inside of them
_INNER_RING = [6, 7, 8, 11, 13, 16, 17, 18]


class _HedBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, count: int) -> None:
        super().__init__()
        widths = [inputs] + [outputs] * count
        self.convs = nn.ModuleList(
            nn.Conv2d(width, outputs, 3, padding=1) for width in widths[:count]
        )
        self.projection = nn.Conv2d(outputs, 1, 1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        for convolution in self.convs:
            x = functional.relu(convolution(x))
        return x, self.projection(x)


class Hed(nn.Module):
    """The network of ControlNetHED.pth."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.Parameter(torch.zeros(1, 3, 1, 1))
        for number, sizes in enumerate(_HED_BLOCKS, 1):
            self.add_module(f"block{number}", _HedBlock(*sizes))

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the strength of edges, [height, width], 0 to 1.

        Args:
            pixels: float32 [1, 3, height, width], 0 to 255.
        """
        x = pixels - self.norm
        edges: list[Tensor] = []
        for number in range(1, len(_HED_BLOCKS) + 1):
            x = functional.max_pool2d(x, 2) if number > 1 else x
            x, edge = self.get_submodule(f"block{number}")(x)
            edges.append(functional.interpolate(edge, pixels.shape[2:], mode="bilinear"))
        return torch.cat(edges).mean(0)[0].sigmoid()


class _DifferenceConv(nn.Module):
    """A convolution of the differences between pixels; as a plain one its kernel is changed."""

    def __init__(self, kind: str, inputs: int, outputs: int, groups: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(outputs, inputs // groups, 3, 3))
        self._kind, self._groups = kind, groups

    def forward(self, x: Tensor) -> Tensor:
        kernel = self._kernel()
        return functional.conv2d(x, kernel, padding=kernel.shape[-1] // 2, groups=self._groups)

    def _kernel(self) -> Tensor:
        kernel = self.weight
        if self._kind == "central":  # each pixel minus the one in the middle
            kernel = kernel.clone()
            kernel[:, :, 1, 1] -= self.weight.sum((2, 3))
        elif self._kind == "angular":  # each pixel minus the next one clockwise
            flat = kernel.flatten(2)
            kernel = (flat - flat[:, :, _CLOCKWISE]).view_as(kernel)
        elif self._kind == "radial":  # the outer ring minus the inner one
            flat = kernel.flatten(2)[:, :, 1:]
            wide = kernel.new_zeros(*kernel.shape[:2], 25)
            wide[:, :, _OUTER_RING] = flat
            wide[:, :, _INNER_RING] = -flat
            kernel = wide.view(*kernel.shape[:2], 5, 5)
        return kernel


class _DifferenceBlock(nn.Module):
    def __init__(self, kind: str, inputs: int, outputs: int, *, shrinks: bool) -> None:
        super().__init__()
        self.conv1 = _DifferenceConv(kind, inputs, inputs, inputs)
        self.conv2 = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.shortcut = nn.Conv2d(inputs, outputs, 1) if shrinks else None

    def forward(self, x: Tensor) -> Tensor:
        x = x if self.shortcut is None else functional.max_pool2d(x, 2)
        changed = self.conv2(functional.relu(self.conv1(x)))
        return changed + (x if self.shortcut is None else self.shortcut(x))


class _DilationModule(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 1)
        for number, dilation in enumerate((5, 7, 9, 11), 1):
            convolution = nn.Conv2d(
                outputs, outputs, 3, dilation=dilation, padding=dilation, bias=False
            )
            self.add_module(f"conv2_{number}", convolution)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(functional.relu(x))
        parts = [self.get_submodule(f"conv2_{number}")(x) for number in range(1, 5)]
        return torch.stack(parts).sum(0)


class _Attention(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, 4, 1)
        self.conv2 = nn.Conv2d(4, 1, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.conv2(self.conv1(functional.relu(x))).sigmoid()


class _Reduce(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class PiDiNet(nn.Module):
    """The network of table5_pidinet.pth."""

    def __init__(self) -> None:
        super().__init__()
        width = _PIDINET_WIDTH
        self.init_block = _DifferenceConv(_PATTERN[0], 3, width, 1)
        widths = (width, 2 * width, 4 * width, 4 * width)
        for stage, outputs in enumerate(widths, 1):
            inputs = widths[stage - 2] if stage > 1 else width
            first = 2 if stage == 1 else 1  # of the first stage the initial block is the first one
            for number in range(first, 5):
                shrinks = stage > 1 and number == 1
                block = _DifferenceBlock(
                    _PATTERN[number - 1],
                    inputs if number == 1 else outputs,
                    outputs,
                    shrinks=shrinks,
                )
                self.add_module(f"block{stage}_{number - (stage == 1)}", block)
        dilation = _PIDINET_DILATION
        self.dilations = nn.ModuleList(_DilationModule(inputs, dilation) for inputs in widths)
        self.attentions = nn.ModuleList(_Attention(dilation) for _ in widths)
        self.conv_reduces = nn.ModuleList(_Reduce(dilation) for _ in widths)
        self.classifier = nn.Conv2d(len(widths), 1, 1)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the strength of edges, [height, width], 0 to 1.

        Args:
            pixels: float32 [1, 3, height, width], 0 to 1, blue first.
        """
        x = self.init_block(pixels)
        edges: list[Tensor] = []
        for stage in range(4):
            for number in range(1, 4 if stage == 0 else 5):
                x = self.get_submodule(f"block{stage + 1}_{number}")(x)
            found = self.attentions[stage](self.dilations[stage](x))
            edge = self.conv_reduces[stage](found)
            edges.append(functional.interpolate(edge, pixels.shape[2:], mode="bilinear"))
        return self.classifier(torch.cat(edges, 1))[0, 0].sigmoid()


def find_hed_edges(network: Hed, image: Pixels, *, is_safe: bool = False) -> Pixels:
    """Return edges by HED, white on black.

    Args:
        network: The network.
        image: uint8 [height, width, 3]; both sides multiples of 16.
        is_safe: Whether faint edges are left out, so that nothing of the picture hides in them.
    """
    edges = network(to_tensor(image, network.norm.device))
    return to_grey(keep_steps(edges) if is_safe else edges)


def find_pidinet_edges(
    network: PiDiNet, image: Pixels, *, is_safe: bool = False, is_sketch: bool = False
) -> Pixels:
    """Return edges by PiDiNet, white on black.

    Args:
        network: The network.
        image: uint8 [height, width, 3]; both sides multiples of 8.
        is_safe: As of `find_hed_edges`.
        is_sketch: Whether edges are black or white alone, as T2I-Adapter's sketch model needs them.
    """
    blue_first = np.ascontiguousarray(image[:, :, ::-1])
    edges = network(to_tensor(blue_first, next(network.parameters()).device) / 255)
    if is_sketch:
        edges = (edges > 0.5).float()
    return to_grey(keep_steps(edges) if is_safe else edges)


def to_scribble(edges: Pixels) -> Pixels:
    """Return thick lines along the ridges of soft edges, white on black, as if they were drawn by hand."""
    blurred = cv2.GaussianBlur(edges[:, :, 0].astype(np.float32), (0, 0), 3.0)
    lines = np.zeros(blurred.shape, np.uint8)
    for kernel in _ridge_kernels():
        ridge = cv2.dilate(blurred, kernel) == blurred
        lines[ridge & (blurred > 127)] = 255
    thick = cv2.GaussianBlur(lines, (0, 0), 3.0)
    return np.where(thick > 4, 255, 0).astype(np.uint8)[:, :, None].repeat(3, axis=2)


def _ridge_kernels() -> list[NDArray[np.uint8]]:
    """Return the four directions across which a ridge is highest."""
    diagonal = np.eye(3, dtype=np.uint8)
    row = np.zeros((3, 3), np.uint8)
    row[1] = 1
    return [row, row.T.copy(), diagonal, np.ascontiguousarray(diagonal[::-1])]


def keep_steps(edges: Tensor, steps: int = _SAFE_STEPS) -> Tensor:
    """Return edges in steps, so that nothing of the picture hides in them.

    Args:
        edges: Strengths, 0 to 1.
        steps: Their number; strengths below one part of `steps` + 1 become none.
    """
    return (edges * (steps + 1)).floor() / steps
