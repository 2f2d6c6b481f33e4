"""Normals by the network of Bae et al. (2021): EfficientNet-B5 (Tan and Le, 2019) and a decoder that refines each pixel."""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from modules.backend.control.annotators.weights import to_tensor
from modules.images.preprocessors.sizes import Pixels

# What names begin with that follows the last features.
UNUSED = ("encoder.original_model.bn2.",)
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet
_STEM, _FEATURES = 48, 2048
# Of each stage: width, number of blocks, size of the kernel, stride.
_STAGES = (
    (24, 3, 3, 1),
    (40, 5, 3, 2),
    (64, 5, 5, 2),
    (128, 7, 3, 2),
    (176, 7, 5, 1),
    (304, 9, 5, 2),
    (512, 3, 3, 1),
)
_RATIO, _SQUEEZE = 6, 4
_EPSILON = 1e-3  # of TensorFlow, in which EfficientNet was trained
_SKIPS = (0, 1, 2, 4)  # stages whose maps the decoder takes, of half the image's size and smaller
_DECODER_WIDTHS = (128, 256, 512, 1024)
_REFINED_WIDTH = 128
_OUTPUTS = 4  # the normal and how sure it is


def rename_key(key: str) -> str:
    """Return the name in `NormalBae` of a tensor of scannet.pt, which has the names of its wrappers before it."""
    return re.sub(r"^(model\.|module\.)+", "", key)


class _SameConv(nn.Conv2d):
    """A convolution that pads as TensorFlow does: as much as it needs, the odd pixel at the end."""

    def forward(self, input: Tensor) -> Tensor:
        (size, _), (stride, _) = self.kernel_size, self.stride
        pads: list[int] = []
        for side in (input.shape[3], input.shape[2]):
            whole = max(0, (-(-side // stride) - 1) * stride + size - side)
            pads += [whole // 2, whole - whole // 2]
        return super().forward(functional.pad(input, pads))


class _SqueezeExcite(nn.Module):
    def __init__(self, width: int, squeezed: int) -> None:
        super().__init__()
        self.conv_reduce = nn.Conv2d(width, squeezed, 1)
        self.conv_expand = nn.Conv2d(squeezed, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        inner = functional.silu(self.conv_reduce(x.mean((2, 3), keepdim=True)))
        return x * self.conv_expand(inner).sigmoid()


def _norm(width: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(width, eps=_EPSILON)


class _SeparableBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, size: int, stride: int) -> None:
        super().__init__()
        self.conv_dw = _SameConv(inputs, inputs, size, stride, groups=inputs, bias=False)
        self.bn1, self.bn2 = _norm(inputs), _norm(outputs)
        self.se = _SqueezeExcite(inputs, inputs // _SQUEEZE)
        self.conv_pw = nn.Conv2d(inputs, outputs, 1, bias=False)
        self._adds = inputs == outputs and stride == 1

    def forward(self, x: Tensor) -> Tensor:
        inner = self.se(functional.silu(self.bn1(self.conv_dw(x))))
        out = self.bn2(self.conv_pw(inner))
        return out + x if self._adds else out


class _InvertedBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, size: int, stride: int) -> None:
        super().__init__()
        wide = inputs * _RATIO
        self.conv_pw = nn.Conv2d(inputs, wide, 1, bias=False)
        self.conv_dw = _SameConv(wide, wide, size, stride, groups=wide, bias=False)
        self.bn1, self.bn2, self.bn3 = _norm(wide), _norm(wide), _norm(outputs)
        self.se = _SqueezeExcite(wide, inputs // _SQUEEZE)
        self.conv_pwl = nn.Conv2d(wide, outputs, 1, bias=False)
        self._adds = inputs == outputs and stride == 1

    def forward(self, x: Tensor) -> Tensor:
        inner = functional.silu(self.bn1(self.conv_pw(x)))
        inner = self.se(functional.silu(self.bn2(self.conv_dw(inner))))
        out = self.bn3(self.conv_pwl(inner))
        return out + x if self._adds else out


class _EfficientNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv_stem = _SameConv(3, _STEM, 3, 2, bias=False)
        self.bn1 = _norm(_STEM)
        stages: list[nn.Sequential] = []
        inputs = _STEM
        for number, (width, count, size, stride) in enumerate(_STAGES):
            make = _SeparableBlock if number == 0 else _InvertedBlock
            later = (make(width, width, size, 1) for _ in range(count - 1))
            stages.append(nn.Sequential(make(inputs, width, size, stride), *later))
            inputs = width
        self.blocks = nn.ModuleList(stages)
        self.conv_head = nn.Conv2d(inputs, _FEATURES, 1, bias=False)

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """Return the maps that the decoder takes, the largest one first."""
        x = functional.silu(self.bn1(self.conv_stem(pixels)))
        skips: list[Tensor] = []
        for number, stage in enumerate(self.blocks):
            x = stage(x)
            if number in _SKIPS:
                skips.append(x)
        return [*skips, self.conv_head(x)]


class _Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.original_model = _EfficientNet()

    def forward(self, pixels: Tensor) -> list[Tensor]:
        return self.original_model(pixels)


class _Upsample(nn.Module):
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self._net = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, padding=1),
            nn.BatchNorm2d(outputs),
            nn.LeakyReLU(),
            nn.Conv2d(outputs, outputs, 3, padding=1),
            nn.BatchNorm2d(outputs),
            nn.LeakyReLU(),
        )

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        size = skip.shape[2:]
        large = functional.interpolate(x, size, mode="bilinear", align_corners=True)
        return self._net(torch.cat((large, skip), 1))


class _Decoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv2 = nn.Conv2d(_FEATURES, _FEATURES, 1)
        inputs = _FEATURES
        widths = [width for number, (width, *_) in enumerate(_STAGES) if number in _SKIPS]
        for level, outputs in enumerate(reversed(_DECODER_WIDTHS), 1):
            self.add_module(f"up{level}", _Upsample(inputs + widths[-level], outputs))
            inputs = outputs
        self.out_conv_res8 = nn.Conv2d(_DECODER_WIDTHS[2], _OUTPUTS, 3, padding=1)
        self.out_conv_res4 = _make_refiner(_DECODER_WIDTHS[2])
        self.out_conv_res2 = _make_refiner(_DECODER_WIDTHS[1])
        self.out_conv_res1 = _make_refiner(_DECODER_WIDTHS[0])

    def forward(self, features: Sequence[Tensor]) -> Tensor:
        *skips, last = features
        maps = [self.conv2(last)]
        for level, skip in enumerate(reversed(skips), 1):
            maps.append(self.get_submodule(f"up{level}")(maps[-1], skip))
        found = _normalize(self.out_conv_res8(maps[2]))
        refiners = self.out_conv_res4, self.out_conv_res2, self.out_conv_res1
        for refine, known in zip(refiners, maps[2:], strict=True):
            joined = torch.cat((_double(known), _double(found)), 1)
            refined = _normalize(refine(joined.flatten(2)))
            found = refined.unflatten(2, joined.shape[2:])
        return found


def _make_refiner(width: int) -> nn.Sequential:
    inner = _REFINED_WIDTH
    return nn.Sequential(
        nn.Conv1d(width + _OUTPUTS, inner, 1),
        nn.ReLU(),
        nn.Conv1d(inner, inner, 1),
        nn.ReLU(),
        nn.Conv1d(inner, inner, 1),
        nn.ReLU(),
        nn.Conv1d(inner, _OUTPUTS, 1),
    )


def _double(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)


def _normalize(x: Tensor) -> Tensor:
    """Return vectors of length 1, and how sure they are as a number above 0."""
    normals, sureness = x[:, :3], x[:, 3:]
    length = normals.square().sum(1, keepdim=True).sqrt() + 1e-10
    return torch.cat((normals / length, functional.elu(sureness) + 1.01), 1)


class NormalBae(nn.Module):
    """The network of scannet.pt."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = _Encoder(), _Decoder()

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the normal of each pixel, [batch, 3, height, width].

        Args:
            pixels: float32 [batch, 3, height, width], normalized; sides are multiples of 32.
        """
        return self.decoder(self.encoder(pixels))[:, :3]


def draw_normals(network: NormalBae, image: Pixels) -> Pixels:
    """Return an image of the normals: x is red, y is green, and what faces the camera is blue.

    Args:
        network: The network.
        image: uint8 [height, width, 3]; sides are multiples of 32.
    """
    pixels = to_tensor(image, next(network.parameters()).device) / 255
    mean, deviation = (pixels.new_tensor(x)[:, None, None] for x in (_MEAN, _STD))
    colours = (network((pixels - mean) / deviation)[0] + 1) / 2 * 255
    return colours.clamp(0, 255).to(torch.uint8).permute(1, 2, 0).cpu().numpy()
