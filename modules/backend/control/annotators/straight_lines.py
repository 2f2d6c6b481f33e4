"""Straight lines by M-LSD (Gu et al., 2021), the large network on MobileNetV2 (Sandler et al., 2018)."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from modules.backend.control.annotators.weights import to_tensor
from modules.images.preprocessors.sizes import Pixels

# MobileNetV2's stages as far as M-LSD uses them: expansion, width, blocks, stride of the first block.
_STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1))
_FIRST_WIDTH = 32
_WIDTH = 64  # of the decoder
_OUTPUTS, _UNUSED = 16, 7  # the first channels only served training
_MAX_LINES = 200


class _Convolution(nn.Sequential):
    """A convolution with what follows it; one that halves is padded at the end alone, as TensorFlow does."""

    def __init__(
        self, inputs: int, outputs: int, size: int, *, stride: int = 1, groups: int = 1
    ) -> None:
        padding = size // 2 if stride == 1 else 0
        super().__init__(
            nn.Conv2d(inputs, outputs, size, stride, padding, groups=groups, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU6(),
        )
        self._is_padded_at_end = stride > 1

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(
            functional.pad(input, (0, 1, 0, 1)) if self._is_padded_at_end else input
        )


class _InvertedResidual(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        width = inputs * expansion
        expand = [] if expansion == 1 else [_Convolution(inputs, width, 1)]
        self.conv = nn.Sequential(
            *expand,
            _Convolution(width, width, 3, stride=stride, groups=width),
            nn.Conv2d(width, outputs, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self._is_residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x) if self._is_residual else self.conv(x)


class _Backbone(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [_Convolution(4, _FIRST_WIDTH, 3, stride=2)]
        inputs = _FIRST_WIDTH
        self._last_of_stages: list[int] = []
        for expansion, outputs, count, stride in _STAGES:
            for number in range(count):
                block = _InvertedResidual(inputs, outputs, 1 if number else stride, expansion)
                layers.append(block)
                inputs = outputs
            self._last_of_stages.append(len(layers) - 1)
        self.features = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> list[Tensor]:
        kept: list[Tensor] = []
        for number, layer in enumerate(self.features):
            x = layer(x)
            if number in self._last_of_stages:
                kept.append(x)
        return kept


def _layers(inputs: int, outputs: int, size: int, dilation: int = 1) -> nn.Sequential:
    padding = dilation * (size // 2)
    convolution = nn.Conv2d(inputs, outputs, size, padding=padding, dilation=dilation)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU())


class _Join(nn.Module):
    """Brings what the backbone kept and what comes from below to one width and size (block type A)."""

    def __init__(self, kept: int, below: int, *, enlarges: bool = True) -> None:
        super().__init__()
        self.conv1, self.conv2 = _layers(below, _WIDTH, 1), _layers(kept, _WIDTH, 1)
        self._enlarges = enlarges

    def forward(self, kept: Tensor, below: Tensor) -> Tensor:
        below = self.conv1(below)
        if self._enlarges:
            below = functional.interpolate(
                below, scale_factor=2.0, mode="bilinear", align_corners=True
            )
        return torch.cat((self.conv2(kept), below), 1)


class _Refine(nn.Module):
    """Block type B."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = _layers(2 * _WIDTH, 2 * _WIDTH, 3)
        self.conv2 = _layers(2 * _WIDTH, _WIDTH, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2(self.conv1(x) + x)


class _Head(nn.Module):
    """Block type C."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = _layers(_WIDTH, _WIDTH, 3, dilation=5)
        self.conv2 = _layers(_WIDTH, _WIDTH, 3)
        self.conv3 = nn.Conv2d(_WIDTH, _OUTPUTS, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv3(self.conv2(self.conv1(x)))


class Mlsd(nn.Module):
    """The network of mlsd_large_512_fp32.pth."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = _Backbone()
        widths = [width for _, width, _, _ in _STAGES]
        self.block15 = _Join(widths[3], widths[4], enlarges=False)
        self.block16 = _Refine()
        for number, width in zip((17, 19, 21), widths[2::-1], strict=True):
            self.add_module(f"block{number}", _Join(width, _WIDTH))
            self.add_module(f"block{number + 1}", _Refine())
        self.block23 = _Head()

    def forward(self, pixels: Tensor) -> Tensor:
        """Return nine numbers of each second pixel, [9, height / 2, width / 2].

        The first is the logit of being the middle of a line, then x and y from there to its start and to its end.

        Args:
            pixels: float32 [1, 3, height, width], 0 to 255; both sides multiples of 16.
        """
        ones = torch.ones_like(pixels[:, :1])
        kept = self.backbone(torch.cat((pixels, ones), 1) / 127.5 - 1)
        x = self.block16(self.block15(kept[3], kept[4]))
        for number, stage in ((17, 2), (19, 1), (21, 0)):
            joined = self.get_submodule(f"block{number}")(kept[stage], x)
            x = self.get_submodule(f"block{number + 1}")(joined)
        return self.block23(x)[0, _UNUSED:]


def find_lines(outputs: Tensor, score: float, length: float) -> NDArray[np.float64]:
    """Return the ends of lines, [lines, 2, 2]: x and y in pixels of the image.

    Args:
        outputs: Of the network, [at least 5, height / 2, width / 2].
        score: Probability of a line from which it counts.
        length: Of a line, in half pixels of the image, from which it counts.
    """
    width = outputs.shape[2]
    heat = outputs[0].sigmoid()
    highest = functional.max_pool2d(heat[None], 3, stride=1, padding=1)[0]
    heat = torch.where(highest == heat, heat, 0).flatten()
    scores, places = heat.topk(min(_MAX_LINES, len(heat)))
    places = places[scores > score].cpu()
    ends = outputs[1:5].flatten(1).cpu()[:, places].T.reshape(-1, 2, 2).numpy()
    middles = np.stack((places % width, places // width), 1)
    is_long = np.linalg.norm(ends[:, 0] - ends[:, 1], axis=1) > length
    return 2 * (middles[:, None] + ends.astype(np.float64))[is_long]


def draw_straight_lines(network: Mlsd, image: Pixels, score: float, length: float) -> Pixels:
    """Return straight lines, white on black.

    Args:
        network: The network.
        image: uint8 [height, width, 3]; both sides multiples of 16.
        score: As of `find_lines`.
        length: Likewise.
    """
    device = next(network.parameters()).device
    drawing = np.zeros(image.shape, np.uint8)
    for start, end in find_lines(network(to_tensor(image, device)), score, length):
        # Cut off, not rounded, as sd-webui-controlnet does.
        cv2.line(drawing, [int(x) for x in start], [int(x) for x in end], (255, 255, 255))
    return drawing
