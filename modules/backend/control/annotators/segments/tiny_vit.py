"""TinyViT with 5 million weights (Wu et al., 2022), as MobileSAM (Zhang et al., 2023) sees images with it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.models.sam.modeling_sam import SamLayerNorm

_WIDTHS, _BLOCKS = (64, 128, 160, 320), (2, 2, 6, 2)
_HEADS, _WINDOWS = (2, 4, 5, 10), (7, 7, 14, 7)  # the first stage has none
_RATIO = 4
_FEATURES = 256


class _ConvNorm(nn.Sequential):
    def __init__(self, inputs: int, outputs: int, size: int, stride: int = 1, groups: int = 1):
        super().__init__()
        padding = size // 2
        self.c = nn.Conv2d(inputs, outputs, size, stride, padding, groups=groups, bias=False)
        self.bn = nn.BatchNorm2d(outputs)


class _PatchEmbed(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        half = width // 2
        self.seq = nn.Sequential(_ConvNorm(3, half, 3, 2), nn.GELU(), _ConvNorm(half, width, 3, 2))

    def forward(self, x: Tensor) -> Tensor:
        return self.seq(x)


class _ConvolvingBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        wide = width * _RATIO
        self.conv1 = _ConvNorm(width, wide, 1)
        self.conv2 = _ConvNorm(wide, wide, 3, groups=wide)
        self.conv3 = _ConvNorm(wide, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        inner = functional.gelu(self.conv2(functional.gelu(self.conv1(x))))
        return functional.gelu(x + self.conv3(inner))


class _Downsample(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = _ConvNorm(inputs, outputs, 1)
        self.conv2 = _ConvNorm(outputs, outputs, 3, stride, groups=outputs)
        self.conv3 = _ConvNorm(outputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv3(functional.gelu(self.conv2(functional.gelu(self.conv1(x)))))


class _Attention(nn.Module):
    """Attention within a window, with a bias for each distance."""

    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.attention_biases = nn.Parameter(torch.zeros(heads, window * window))
        self._heads, self._window = heads, window

    def forward(self, x: Tensor) -> Tensor:
        whole = self.qkv(self.norm(x)).unflatten(2, (self._heads, 3, -1))
        query, key, value = whole.permute(3, 0, 2, 1, 4)
        places = torch.arange(self._window, device=x.device)
        apart = (places[:, None] - places).abs()
        index = apart[:, None, :, None] * self._window + apart[None, :, None, :]
        bias = self.attention_biases[:, index.flatten(2).flatten(0, 1)]
        mixed = functional.scaled_dot_product_attention(query, key, value, bias)
        return self.proj(mixed.transpose(1, 2).flatten(2))


class _Mlp(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.fc1, self.fc2 = nn.Linear(width, width * _RATIO), nn.Linear(width * _RATIO, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(functional.gelu(self.fc1(self.norm(x))))


class _AttendingBlock(nn.Module):
    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.attn = _Attention(width, heads, window)
        self.local_conv = _ConvNorm(width, width, 3, groups=width)
        self.mlp = _Mlp(width)
        self._window = window

    def forward(self, x: Tensor) -> Tensor:
        x = self.local_conv(x + self._attend(x))
        return x + self.mlp(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

    def _attend(self, x: Tensor) -> Tensor:
        height, width = x.shape[2:]
        # What is added at the sides is attended to as well.
        padded = functional.pad(x, (0, -width % self._window, 0, -height % self._window))
        size = self._window
        tiles = padded.unflatten(3, (-1, size)).unflatten(2, (-1, size)).permute(0, 2, 4, 3, 5, 1)
        attended = self.attn(tiles.flatten(3, 4).flatten(0, 2)).unflatten(1, (size, size))
        tiles = attended.unflatten(0, tiles.shape[:3]).permute(0, 5, 1, 3, 2, 4)
        return tiles.flatten(4).flatten(2, 3)[:, :, :height, :width]


class _Stage(nn.Module):
    def __init__(self, number: int) -> None:
        super().__init__()
        width, count = _WIDTHS[number], _BLOCKS[number]
        make = (
            (lambda: _ConvolvingBlock(width))
            if number == 0
            else (lambda: _AttendingBlock(width, _HEADS[number], _WINDOWS[number]))
        )
        self.blocks = nn.Sequential(*(make() for _ in range(count)))
        self.downsample: nn.Module = nn.Identity()
        if number < len(_WIDTHS) - 1:
            # MobileSAM keeps the size between the last two, for maps of a 16th of the image.
            stride = 1 if number == len(_WIDTHS) - 2 else 2
            self.downsample = _Downsample(width, _WIDTHS[number + 1], stride)

    def forward(self, x: Tensor) -> Tensor:
        return self.downsample(self.blocks(x))


class TinyViT(nn.Module):
    """The image encoder of mobile_sam.pt."""

    def __init__(self) -> None:
        super().__init__()
        self.patch_embed = _PatchEmbed(_WIDTHS[0])
        self.layers = nn.Sequential(*(_Stage(number) for number in range(len(_WIDTHS))))
        self.neck = nn.Sequential(
            nn.Conv2d(_WIDTHS[-1], _FEATURES, 1, bias=False),
            SamLayerNorm(_FEATURES, eps=1e-6, data_format="channels_first"),
            nn.Conv2d(_FEATURES, _FEATURES, 3, padding=1, bias=False),
            SamLayerNorm(_FEATURES, eps=1e-6, data_format="channels_first"),
        )

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the features of images, [batch, 256, height / 16, width / 16].

        Args:
            pixels: float32 [batch, 3, height, width], normalized; sides are multiples of 16.
        """
        return self.neck(self.layers(self.patch_embed(pixels)))
