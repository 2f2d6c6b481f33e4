"""Line art: Informative Drawings (Chan et al., 2022) for photos, and a pix2pix generator (Isola et al., 2017) for anime."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor, nn

from modules.backend.control.annotators.weights import to_grey, to_tensor
from modules.images.preprocessors.sizes import Pixels

_RESIDUAL_BLOCKS = 3
_ANIME_MULTIPLE = 256  # eight times halved, one pixel is left
_ANIME_WIDTHS = (64, 128, 256, 512, 512, 512, 512, 512)


class _ResidualBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv_block = nn.Sequential(
            nn.ReflectionPad2d(1),
            nn.Conv2d(width, width, 3),
            nn.InstanceNorm2d(width),
            nn.ReLU(),
            nn.ReflectionPad2d(1),
            nn.Conv2d(width, width, 3),
            nn.InstanceNorm2d(width),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv_block(x)


def _norm(width: int) -> tuple[nn.Module, nn.Module]:
    return nn.InstanceNorm2d(width), nn.ReLU()


class LineArtGenerator(nn.Module):
    """The network of sk_model.pth and sk_model2.pth."""

    def __init__(self) -> None:
        super().__init__()
        self.model0 = nn.Sequential(nn.ReflectionPad2d(3), nn.Conv2d(3, 64, 7), *_norm(64))
        self.model1 = nn.Sequential(
            *(
                layer
                for width in (64, 128)
                for layer in (
                    nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
                    *_norm(2 * width),
                )
            )
        )
        self.model2 = nn.Sequential(*(_ResidualBlock(256) for _ in range(_RESIDUAL_BLOCKS)))
        self.model3 = nn.Sequential(
            *(
                layer
                for width in (256, 128)
                for layer in (
                    nn.ConvTranspose2d(width, width // 2, 3, stride=2, padding=1, output_padding=1),
                    *_norm(width // 2),
                )
            )
        )
        self.model4 = nn.Sequential(nn.ReflectionPad2d(3), nn.Conv2d(64, 1, 7), nn.Sigmoid())

    def forward(self, pixels: Tensor) -> Tensor:
        """Return a drawing, black on white, [height, width], 0 to 1.

        Args:
            pixels: float32 [1, 3, height, width], 0 to 1; both sides multiples of 4.
        """
        x = self.model2(self.model1(self.model0(pixels)))
        return self.model4(self.model3(x))[0, 0]


class _SkipBlock(nn.Module):
    """One level of the U-Net: halves, calls the next level, doubles, and concatenates its input."""

    def __init__(self, level: int) -> None:
        super().__init__()
        width = _ANIME_WIDTHS[level]
        is_outermost, is_innermost = level == 0, level == len(_ANIME_WIDTHS) - 1
        outer = 3 if is_outermost else _ANIME_WIDTHS[level - 1]
        down: list[nn.Module] = [nn.Conv2d(outer, width, 4, stride=2, padding=1)]
        if not is_outermost:
            down.insert(0, nn.LeakyReLU(0.2))
        if not is_outermost and not is_innermost:
            down.append(nn.InstanceNorm2d(width))
        inside: list[nn.Module] = [] if is_innermost else [_SkipBlock(level + 1)]
        up = nn.ConvTranspose2d(
            width if is_innermost else 2 * width,
            1 if is_outermost else outer,
            4,
            stride=2,
            padding=1,
        )
        last = nn.Tanh() if is_outermost else nn.InstanceNorm2d(outer)
        self.model = nn.Sequential(*down, *inside, nn.ReLU(), up, last)
        self._keeps_input = not is_outermost

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat((x, self.model(x)), 1) if self._keeps_input else self.model(x)


class AnimeGenerator(nn.Module):
    """The network of netG.pth."""

    def __init__(self) -> None:
        super().__init__()
        self.model = _SkipBlock(0)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return a drawing, black on white, [height, width], -1 to 1.

        Args:
            pixels: float32 [1, 3, height, width], -1 to 1; both sides multiples of 256.
        """
        return self.model(pixels)[0, 0]


def draw_line_art(network: LineArtGenerator, image: Pixels) -> Pixels:
    """Return the lines of a photo, white on black.

    Args:
        network: The network.
        image: uint8 [height, width, 3]; both sides multiples of 4.
    """
    device = next(network.parameters()).device
    return 255 - to_grey(network(to_tensor(image, device) / 255))


def draw_anime_lines(network: AnimeGenerator, image: Pixels) -> Pixels:
    """Return the lines of a drawing, white on black.

    Args:
        network: The network.
        image: uint8 [height, width, 3].
    """
    height, width = image.shape[:2]
    whole = [-side % _ANIME_MULTIPLE + side for side in (width, height)]
    enlarged = np.asarray(cv2.resize(image, whole, interpolation=cv2.INTER_CUBIC), np.uint8)
    device = next(network.parameters()).device
    lines = network(to_tensor(enlarged, device) / 127.5 - 1) * 127.5 + 127.5
    drawing = cv2.resize(lines.cpu().numpy(), (width, height), interpolation=cv2.INTER_CUBIC)
    grey = 255 - drawing.clip(0, 255).astype(np.uint8)
    return grey[:, :, None].repeat(3, axis=2)
