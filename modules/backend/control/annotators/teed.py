"""Soft edges by TEED (Soria et al., 2023), and Anyline, which is TEED trained anew for MistoLine."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from modules.backend.control.annotators.soft_edges import keep_steps
from modules.backend.control.annotators.weights import to_grey, to_tensor
from modules.images.preprocessors.lines import draw_line_art
from modules.images.preprocessors.sizes import Pixels

_WIDTHS = (16, 32, 48)
_FUSION = 24
_UP_WIDTH = 16
_SMALLEST_LINE = 12  # pixels of a faint line of Anyline


def smish(x: Tensor) -> Tensor:
    """Return Smish (Wang et al., 2022), TEED's activation."""
    return x * torch.tanh(torch.log1p(torch.sigmoid(x)))


class _Smish(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return smish(x)


class _DoubleConv(nn.Module):
    def __init__(self, inputs: int, outputs: int, *, stride: int = 1, ends_active: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1, stride=stride)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self._ends_active = ends_active

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv2(smish(self.conv1(x)))
        return smish(x) if self._ends_active else x


class _SingleConv(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 1, stride=stride)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x)


class _DenseLayer(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=2)
        self.conv2 = nn.Conv2d(outputs, outputs, 3)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        return (self.conv2(smish(self.conv1(smish(x)))) + skip) / 2


class _Enlarge(nn.Module):
    """Doubles a map several times until it is as large as the picture, with one channel."""

    def __init__(self, inputs: int, times: int) -> None:
        super().__init__()
        size = 2**times
        layers: list[nn.Module] = []
        for number in range(times):
            outputs = 1 if number == times - 1 else _UP_WIDTH
            up = nn.ConvTranspose2d(outputs, outputs, size, stride=2, padding=times - 1)
            layers += [nn.Conv2d(inputs, outputs, 1), _Smish(), up]
            inputs = outputs
        self.features = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.features(x)


class _Fusion(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.DWconv1 = nn.Conv2d(3, _FUSION, 3, padding=1, groups=3)
        self.DWconv2 = nn.Conv2d(_FUSION, _FUSION, 3, padding=1, groups=_FUSION)

    def forward(self, x: Tensor) -> Tensor:
        first = self.DWconv1(smish(x))
        return smish((self.DWconv2(smish(first)) + first).sum(1, keepdim=True))


class Teed(nn.Module):
    """The network of 7_model.pth and MTEED.pth."""

    def __init__(self) -> None:
        super().__init__()
        first, second, third = _WIDTHS
        self.block_1 = _DoubleConv(3, first, stride=2, ends_active=True)
        self.block_2 = _DoubleConv(first, second, ends_active=False)
        self.dblock_3 = nn.ModuleDict({"denselayer1": _DenseLayer(second, third)})
        self.side_1 = _SingleConv(first, second, 2)
        self.pre_dense_3 = _SingleConv(second, third, 1)
        self.up_block_1 = _Enlarge(first, 1)
        self.up_block_2 = _Enlarge(second, 1)
        self.up_block_3 = _Enlarge(third, 2)
        self.block_cat = _Fusion()

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the strength of edges, [height, width], 0 to 1.

        Args:
            pixels: float32 [1, 3, height, width], 0 to 255; both sides multiples of 8.
        """
        first = self.block_1(pixels)
        second = self.block_2(first)
        small = functional.max_pool2d(second, 3, stride=2, padding=1)
        layer = self.dblock_3["denselayer1"]
        third = layer(small + self.side_1(first), self.pre_dense_3(small))
        edges = torch.cat(
            (self.up_block_1(first), self.up_block_2(second), self.up_block_3(third)), 1
        )
        return torch.cat((edges, self.block_cat(edges)), 1)[0].mean(0).sigmoid()


def find_teed_edges(network: Teed, image: Pixels, steps: int) -> Pixels:
    """Return edges by TEED, white on black.

    Args:
        network: The network.
        image: uint8 [height, width, 3]; both sides multiples of 8.
        steps: As of `keep_steps`; 0 keeps all strengths.
    """
    edges = network(to_tensor(image, next(network.parameters()).device))
    return to_grey(keep_steps(edges, steps) if steps else edges)


def find_anyline_edges(network: Teed, image: Pixels, steps: int) -> Pixels:
    """Return edges by Anyline as sd-webui-controlnet has them: where line art has a trace, there is no more than one.

    Args:
        network: The network.
        image: As of `find_teed_edges`.
        steps: Likewise.
    """
    edges = find_teed_edges(network, image, steps)
    trace = (draw_line_art(image, min(image.shape[:2]))[:, :, 0] == 1).astype(np.uint8)
    _, parts, facts, _ = cv2.connectedComponentsWithStats(trace, connectivity=4)
    is_large = facts[:, cv2.CC_STAT_AREA] >= _SMALLEST_LINE
    edges[(trace > 0) & is_large[parts]] = 1
    return edges
