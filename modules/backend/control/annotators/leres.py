"""Depth by LeReS (Yin et al., 2021): ResNeXt-101 (Xie et al., 2017) and a decoder."""

from __future__ import annotations

import re
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from modules.backend.control.annotators.weights import to_tensor
from modules.images.preprocessors.sizes import Pixels

# What names of the file begin with that finds the camera of a scene.
UNUSED = ("shift_model.", "focal_model.", "optimizer.", "scheduler.")
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet
_STEM, _BLOCKS = 64, (3, 4, 23, 3)
_GROUPS = 32
_WIDTHS = (256, 512, 1024, 2048)
_DECODER_WIDTHS = (256, 256, 256, 512)


def rename_key(key: str) -> str:
    """Return the name in `Leres` of a tensor of res101.pth, which has the names of several wrappers before it."""
    return re.sub(r"^.*?(?=(encoder|decoder)_modules\.)", "", key)


class _Block(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        inner = outputs  # in ResNeXt-101 32x8d, where a ResNet has a quarter
        self.conv1 = nn.Conv2d(inputs, inner, 1, bias=False)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride, 1, groups=_GROUPS, bias=False)
        self.conv3 = nn.Conv2d(inner, outputs, 1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(inner), nn.BatchNorm2d(inner)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Module = nn.Identity()
        if inputs != outputs:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        inner = functional.relu(self.bn1(self.conv1(x)))
        inner = functional.relu(self.bn2(self.conv2(inner)))
        return functional.relu(self.bn3(self.conv3(inner)) + self.downsample(x))


class _ResNext(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, _STEM, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(_STEM)
        inputs = _STEM
        for stage, (width, count) in enumerate(zip(_WIDTHS, _BLOCKS, strict=True), 1):
            later = (_Block(width, width, 1) for _ in range(count - 1))
            blocks = nn.Sequential(_Block(inputs, width, 1 if stage == 1 else 2), *later)
            self.add_module(f"layer{stage}", blocks)
            inputs = width

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """Return the features of the four stages, each half as large as the one before."""
        x = functional.relu(self.bn1(self.conv1(pixels)))
        x = functional.max_pool2d(x, 3, 2, 1)
        features: list[Tensor] = []
        for stage in range(1, len(_WIDTHS) + 1):
            x = self.get_submodule(f"layer{stage}")(x)
            features.append(x)
        return features


class _Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = _ResNext()

    def forward(self, pixels: Tensor) -> list[Tensor]:
        return self.encoder(pixels)


class _Transfer(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.conv_branch = nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, padding=1),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        # The authors' first ReLU works in place, so that what is added has been through it as well.
        x = functional.relu(self.conv1(x))
        return functional.relu(x + self.conv_branch(x))


class _Fusion(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.ftb1, self.ftb2 = _Transfer(inputs, outputs), _Transfer(outputs, outputs)

    def forward(self, skip: Tensor, x: Tensor) -> Tensor:
        return _double(self.ftb2(self.ftb1(skip) + x))


class _Output(nn.Module):
    def __init__(self, inputs: int) -> None:
        super().__init__()
        self.adapt_conv = nn.Sequential(
            nn.Conv2d(inputs, inputs // 2, 3, padding=1),
            nn.BatchNorm2d(inputs // 2),
            nn.ReLU(),
            nn.Conv2d(inputs // 2, 1, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return _double(self.adapt_conv(x))


class _Decoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        *_, width, widest = _DECODER_WIDTHS
        self.conv = _Transfer(_WIDTHS[-1], widest)
        self.conv1 = nn.Conv2d(widest, width, 3, padding=1)
        self.ffm2, self.ffm1, self.ffm0 = (
            _Fusion(_WIDTHS[n], _DECODER_WIDTHS[n]) for n in (2, 1, 0)
        )
        self.outconv = _Output(_DECODER_WIDTHS[0])

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        x = _double(self.conv1(self.conv(features[3])))
        for fuse, skip in zip((self.ffm2, self.ffm1, self.ffm0), features[2::-1], strict=True):
            x = fuse(skip, x)
        return self.outconv(x)


def _double(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)


class Leres(nn.Module):
    """The network of res101.pth that estimates depth."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder_modules, self.decoder_modules = _Encoder(), _Decoder()

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the distance of each pixel, in no unit, [batch, 1, height, width].

        Args:
            pixels: float32 [batch, 3, height, width], normalized; sides are multiples of 32.
        """
        return self.decoder_modules(self.encoder_modules(pixels))


def estimate_depth(network: Leres, image: Pixels) -> NDArray[np.float32]:
    """Return the distance of each pixel, in no unit, float32 [height, width].

    Args:
        network: The network.
        image: uint8 [height, width, 3]; sides are multiples of 32.
    """
    # sd-webui-controlnet gives the network blue first, and values to 255 where it was trained with values to 1.
    pixels = to_tensor(image[:, :, ::-1], next(network.parameters()).device)
    mean, deviation = (pixels.new_tensor(x)[:, None, None] for x in (_MEAN, _STD))
    return network((pixels - mean) / deviation)[0, 0].cpu().numpy()


def draw_depth(depth: NDArray[np.float32], near: float, background: float) -> Pixels:
    """Return an image of distances in which near is white.

    Args:
        depth: float32 [height, width].
        near: How much of the range is cut off as too near, in percent; it becomes white.
        background: How much is cut off as too far, in percent; it becomes black.
    """
    span = float(depth.max() - depth.min())
    whole = (depth - depth.min()) / span * 65535 if span > 0 else np.zeros_like(depth)
    # As in sd-webui-controlnet, over 16 bits, of which the last ones are cut off.
    grey = np.rint(whole.astype(np.uint16) * (255 / 65535)).astype(np.uint8)
    if near:
        grey = cv2.threshold(grey, near / 100 * 255, 255, cv2.THRESH_TOZERO)[1]
    grey = 255 - grey
    if background:
        grey = cv2.threshold(grey, background / 100 * 255, 255, cv2.THRESH_TOZERO)[1]
    return np.asarray(grey, np.uint8)[:, :, None].repeat(3, axis=2)
