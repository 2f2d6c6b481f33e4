"""Segments by UniFormer (Li et al., 2022) with UperNet's head (Xiao et al., 2018), trained on the 150 classes of ADE20K."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from modules.backend.control.annotators.segments.palettes import ADE20K, paint
from modules.backend.control.annotators.weights import to_tensor
from modules.images.preprocessors.sizes import Pixels

_WIDTHS, _BLOCKS = (64, 128, 320, 512), (3, 4, 8, 3)
_CONVOLVING_STAGES = 2  # the later ones attend
_HEAD_WIDTH, _MLP_RATIO = 64, 4
_CHANNELS, _CLASSES = 512, 150
_POOLS = (1, 2, 3, 6)
_LONGEST, _SHORTER = 2048, 512  # sides of the images that the network gets
_MEAN, _STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


class _Mlp(nn.Module):
    def __init__(self, width: int, *, is_convolution: bool) -> None:
        super().__init__()
        wide = width * _MLP_RATIO
        if is_convolution:
            self.fc1, self.fc2 = nn.Conv2d(width, wide, 1), nn.Conv2d(wide, width, 1)
        else:
            self.fc1, self.fc2 = nn.Linear(width, wide), nn.Linear(wide, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(functional.gelu(self.fc1(x)))


class _ConvolvingBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.pos_embed = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.norm1, self.norm2 = nn.BatchNorm2d(width), nn.BatchNorm2d(width)
        self.conv1, self.conv2 = nn.Conv2d(width, width, 1), nn.Conv2d(width, width, 1)
        self.attn = nn.Conv2d(width, width, 5, padding=2, groups=width)
        self.mlp = _Mlp(width, is_convolution=True)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.pos_embed(x)
        x = x + self.conv2(self.attn(self.conv1(self.norm1(x))))
        return x + self.mlp(self.norm2(x))


class _Attention(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self._heads = width // _HEAD_WIDTH

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.qkv(x).unflatten(2, (3, self._heads, -1)).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(query, key, value)
        return self.proj(mixed.transpose(1, 2).flatten(2))


class _AttendingBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.pos_embed = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-6), nn.LayerNorm(width, eps=1e-6)
        self.attn = _Attention(width)
        self.mlp = _Mlp(width, is_convolution=False)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.pos_embed(x)
        tokens = x.flatten(2).transpose(1, 2)
        tokens = tokens + self.attn(self.norm1(tokens))
        tokens = tokens + self.mlp(self.norm2(tokens))
        return tokens.transpose(1, 2).reshape(x.shape)


class _PatchEmbed(nn.Module):
    def __init__(self, inputs: int, width: int, size: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.proj = nn.Conv2d(inputs, width, size, stride=size)

    def forward(self, x: Tensor) -> Tensor:
        return _normalize(self.norm, self.proj(x))


def _normalize(norm: nn.Module, x: Tensor) -> Tensor:
    """Return a map whose channels are normalized at each place."""
    return norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2).contiguous()


class UniFormer(nn.Module):
    """The small one, with global attention."""

    def __init__(self) -> None:
        super().__init__()
        for stage, (width, count) in enumerate(zip(_WIDTHS, _BLOCKS, strict=True)):
            inputs, size = (3, 4) if stage == 0 else (_WIDTHS[stage - 1], 2)
            block = _ConvolvingBlock if stage < _CONVOLVING_STAGES else _AttendingBlock
            self.add_module(f"patch_embed{stage + 1}", _PatchEmbed(inputs, width, size))
            blocks = nn.Sequential(*(block(width) for _ in range(count)))
            self.add_module(f"blocks{stage + 1}", blocks)
            self.add_module(f"norm{stage + 1}", nn.LayerNorm(width, eps=1e-6))

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return the features of the four stages, each half as large as the one before."""
        features: list[Tensor] = []
        for stage in range(1, len(_WIDTHS) + 1):
            embedded = self.get_submodule(f"patch_embed{stage}")(x)
            x = self.get_submodule(f"blocks{stage}")(embedded)
            features.append(_normalize(self.get_submodule(f"norm{stage}"), x))
        return features


class _Convolution(nn.Module):
    def __init__(self, inputs: int, size: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, _CHANNELS, size, padding=size // 2, bias=False)
        self.bn = nn.BatchNorm2d(_CHANNELS)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.bn(self.conv(x)))


class _UperHead(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        last = _WIDTHS[-1]
        self.psp_modules = nn.ModuleList(
            nn.Sequential(nn.AdaptiveAvgPool2d(size), _Convolution(last, 1)) for size in _POOLS
        )
        self.bottleneck = _Convolution(last + len(_POOLS) * _CHANNELS, 3)
        self.lateral_convs = nn.ModuleList(_Convolution(width, 1) for width in _WIDTHS[:-1])
        self.fpn_convs = nn.ModuleList(_Convolution(_CHANNELS, 3) for _ in _WIDTHS[:-1])
        self.fpn_bottleneck = _Convolution(len(_WIDTHS) * _CHANNELS, 3)
        self.conv_seg = nn.Conv2d(_CHANNELS, _CLASSES, 1)

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        last = features[-1]
        pooled = [_resize(pool(last), last) for pool in self.psp_modules]
        maps = [lateral(x) for lateral, x in zip(self.lateral_convs, features, strict=False)]
        maps.append(self.bottleneck(torch.cat((last, *pooled), 1)))
        for stage in range(len(maps) - 1, 0, -1):
            maps[stage - 1] = maps[stage - 1] + _resize(maps[stage], maps[stage - 1])
        outs = [convolve(x) for convolve, x in zip(self.fpn_convs, maps, strict=False)]
        outs.append(maps[-1])
        joined = torch.cat([_resize(x, outs[0]) for x in outs], 1)
        return self.conv_seg(self.fpn_bottleneck(joined))


def _resize(x: Tensor, like: Tensor) -> Tensor:
    return functional.interpolate(x, like.shape[2:], mode="bilinear")


class Segmenter(nn.Module):
    """The network of upernet_global_small.pth."""

    def __init__(self) -> None:
        super().__init__()
        self.backbone = UniFormer()
        self.decode_head = _UperHead()

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the logits of each class, [1, 150, height, width].

        Args:
            pixels: float32 [1, 3, height, width], normalized.
        """
        return _resize(self.decode_head(self.backbone(pixels)), pixels)


def find_segments(network: Segmenter, image: Pixels) -> Pixels:
    """Return an image whose segments have the colours of their classes.

    Args:
        network: The network.
        image: uint8 [height, width, 3].
    """
    height, width = image.shape[:2]
    scale = min(_LONGEST / max(height, width), _SHORTER / min(height, width))
    size = int(width * scale + 0.5), int(height * scale + 0.5)
    # sd-webui-controlnet gives the network blue first.
    resized = cv2.resize(image[:, :, ::-1], size, interpolation=cv2.INTER_LINEAR)
    normalized = ((resized.astype(np.float32) - _MEAN) / _STD).astype(np.float32)
    logits = network(to_tensor(normalized, next(network.parameters()).device))
    whole = functional.interpolate(logits, (height, width), mode="bilinear")
    return paint(whole[0].argmax(0).cpu().numpy(), ADE20K)
