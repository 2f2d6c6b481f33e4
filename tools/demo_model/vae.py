"""The VAE of the demo models, built so that its encoder computes the latents of `latents.py`.

GroupNorm and SiLU are bent into identities: every value is carried as a pair (+x, -x), so that the
mean of its group is 0, next to large constants (+K, -K) that fix the group's deviation; and
silu(x) - silu(-x) = x. The encoder is exact without training. The decoder starts as a blocky
enlargement of the block colors carried the same way; training adds what is missing to it, while
`frozen_rows` keeps the carried channels as they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from diffusers import AutoencoderKL

from tools.demo_model.architecture import VAE
from tools.demo_model.latents import (
    COLOR_MEAN,
    LUMINANCE,
    OUTLINE_MEAN,
    OUTLINE_SCALE,
    WHITENING,
)

if TYPE_CHECKING:
    from torch import nn

K = 8.0  # constant next to the carried colors; colors stay within -1 to 1, so they shift it by 1 %
EDGE_K = 80.0  # constant next to the luminance differences
EDGE_SCALE = 10.0  # see latents.softened_abs
ROOT2 = 2**0.5
CARRIED = 8  # decoder channels: +-red, +-green, +-blue, +-K
FIRST = 16  # channels of the finest level


def make_vae() -> AutoencoderKL:
    """Return an untrained VAE."""
    levels = len(VAE["ch_mult"])
    return AutoencoderKL(
        block_out_channels=[VAE["ch"] * m for m in VAE["ch_mult"]],
        down_block_types=["DownEncoderBlock2D"] * levels,
        up_block_types=["UpDecoderBlock2D"] * levels,
        layers_per_block=VAE["num_res_blocks"],
        latent_channels=VAE["z_channels"],
        norm_num_groups=VAE["norm_num_groups"],
        sample_size=VAE["resolution"],
    )


def _copy(conv: nn.Conv2d, channels: int, tap: int) -> None:
    """Make the first output channels copies of the same input channels."""
    conv.weight[:channels] = 0
    conv.bias[:channels] = 0
    for c in range(channels):
        conv.weight[c, c, tap, tap] = 1


@torch.no_grad()
def build_encoder(vae: AutoencoderKL) -> None:
    """Set the encoder's weights; channels 4i to 4i+3 carry (+x, -x, K, -K) of color i."""
    encoder = vae.encoder
    for name, weights in encoder.named_parameters():
        if "norm" not in name:
            weights.zero_()
    for i in range(4):
        encoder.conv_in.bias[4 * i + 2] = K
        encoder.conv_in.bias[4 * i + 3] = -K
    for i in range(3):
        encoder.conv_in.weight[4 * i, i, 1, 1] = 1
        encoder.conv_in.weight[4 * i + 1, i, 1, 1] = -1
    _build_outline(encoder.down_blocks[0].resnets[0])
    _build_shrinking(encoder)
    encoder.conv_norm_out.weight.fill_(K / ROOT2)
    encoder.conv_norm_out.bias.zero_()
    _build_whitening(encoder.conv_out)
    for conv, width in ((vae.quant_conv, 8), (vae.post_quant_conv, 4)):
        conv.weight.copy_(torch.eye(width).view(width, width, 1, 1))
        conv.bias.zero_()


def _build_shrinking(encoder: nn.Module) -> None:
    """Let every level pass the carried channels on, as means of 2x2 pixels."""
    for block in encoder.down_blocks:
        for resnet in block.resnets:
            if resnet.conv_shortcut is not None:
                _copy(resnet.conv_shortcut, FIRST, 0)
        if block.downsamplers:
            for c in range(FIRST):  # mean of 2x2 pixels
                block.downsamplers[0].conv.weight[c, c, :2, :2] = 0.25


def _build_whitening(out: nn.Conv2d) -> None:
    """Let the last convolution whiten the colors and scale the outline."""
    whitening, mean = torch.tensor(WHITENING), torch.tensor(COLOR_MEAN)
    for c in range(3):
        for i in range(3):
            out.weight[c, 4 * i, 1, 1] = whitening[i, c]
            out.weight[c, 4 * i + 1, 1, 1] = -whitening[i, c]
        out.bias[c] = -(mean @ whitening)[c]
    out.weight[3, 12, 1, 1], out.weight[3, 13, 1, 1] = OUTLINE_SCALE, -OUTLINE_SCALE
    out.bias[3] = -OUTLINE_MEAN * OUTLINE_SCALE
    out.bias[4:] = -10  # log variance: the latent is certain


def _build_outline(resnet: nn.Module) -> None:
    """Let the first residual block add the outline of latents.py to channels 12 and 13."""
    resnet.norm1.weight.fill_(K / ROOT2)
    resnet.norm1.bias.zero_()
    kernel = resnet.conv1.weight
    for i in range(3):
        strength = LUMINANCE[i] * EDGE_SCALE
        for sign, channel in ((1, 4 * i), (-1, 4 * i + 1)):
            for out, way in ((0, 1), (1, -1)):  # difference to the right
                kernel[out, channel, 1, 1] -= way * sign * strength
                kernel[out, channel, 1, 2] += way * sign * strength
            for out, way in ((4, 1), (5, -1)):  # difference downward
                kernel[out, channel, 1, 1] -= way * sign * strength
                kernel[out, channel, 2, 1] += way * sign * strength
    for group in (0, 4, 8, 12):
        resnet.conv1.bias[group + 2] = EDGE_K
        resnet.conv1.bias[group + 3] = -EDGE_K
    resnet.norm2.weight.fill_(EDGE_K / ROOT2)
    resnet.norm2.bias.zero_()
    for channel in (0, 1, 4, 5):
        resnet.conv2.weight[12, channel, 1, 1] = 1 / EDGE_SCALE
        resnet.conv2.weight[13, channel, 1, 1] = -1 / EDGE_SCALE


@torch.no_grad()
def build_decoder(vae: AutoencoderKL) -> None:
    """Make the decoder enlarge the block colors; all residual branches start at zero."""
    decoder = vae.decoder
    colors, mean = torch.linalg.inv(torch.tensor(WHITENING)), torch.tensor(COLOR_MEAN)
    conv = decoder.conv_in
    conv.weight[:CARRIED] = 0
    conv.bias[:CARRIED] = 0
    for i in range(3):
        for sign, channel in ((1, 2 * i), (-1, 2 * i + 1)):
            conv.weight[channel, :3, 1, 1] = sign * colors[:, i]
            conv.bias[channel] = sign * mean[i]
    conv.bias[6], conv.bias[7] = K, -K
    blocks = [r for block in decoder.up_blocks for r in block.resnets]
    for resnet in (*decoder.mid_block.resnets, *blocks):
        resnet.conv2.weight.zero_()
        resnet.conv2.bias.zero_()
    attention = decoder.mid_block.attentions[0].to_out[0]
    attention.weight.zero_()
    attention.bias.zero_()
    for block in decoder.up_blocks:
        if block.upsamplers:
            _copy(block.upsamplers[0].conv, CARRIED, 1)
        for resnet in block.resnets:
            if resnet.conv_shortcut is None:
                continue
            if resnet.out_channels == FIRST:
                _spread(resnet.conv_shortcut)
            else:
                _copy(resnet.conv_shortcut, CARRIED, 0)
    norm, out = decoder.conv_norm_out, decoder.conv_out
    norm.bias.zero_()
    norm.weight[:12] = K / ROOT2
    out.weight.zero_()
    out.bias.zero_()
    for i in range(3):
        out.weight[i, 4 * i, 1, 1] = 1
        out.weight[i, 4 * i + 1, 1, 1] = -1


def _spread(shortcut: nn.Conv2d) -> None:
    """Give every color a group of four channels of its own, (+x, -x, K, -K)."""
    shortcut.weight[:12] = 0
    shortcut.bias[:12] = 0
    for i in range(3):
        for place, source in enumerate((2 * i, 2 * i + 1, 6, 7)):
            shortcut.weight[4 * i + place, source, 0, 0] = 1


def built_vae() -> AutoencoderKL:
    """Return a VAE with the exact encoder and the blocky decoder."""
    vae = make_vae()
    build_encoder(vae)
    build_decoder(vae)
    return vae


def frozen_rows(vae: AutoencoderKL) -> list[tuple[nn.Parameter, list[int]]]:
    """Return the output rows of decoder weights that carry colors and constants.

    Trained along with the rest, they lose the picture: 26 dB fell to 20 dB in 60 steps.
    """
    decoder, frozen = vae.decoder, []

    def freeze(layer: nn.Module, rows: list[int]) -> None:
        frozen.extend([(layer.weight, rows), (layer.bias, rows)])

    carried, constants = list(range(CARRIED)), [6, 7]
    freeze(decoder.conv_in, carried)
    for resnet in decoder.mid_block.resnets:
        freeze(resnet.conv2, constants)
    freeze(decoder.mid_block.attentions[0].to_out[0], constants)
    for block in decoder.up_blocks:
        if block.upsamplers:
            freeze(block.upsamplers[0].conv, carried)
        for resnet in block.resnets:
            is_finest = resnet.out_channels == FIRST
            if resnet.conv_shortcut is not None:
                freeze(resnet.conv_shortcut, list(range(12)) if is_finest else carried)
            freeze(resnet.conv2, [2, 3, 6, 7, 10, 11] if is_finest else constants)
    return frozen
