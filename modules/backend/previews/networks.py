"""Small networks that decode latents for previews, read from files of the kind "Preview decoder"."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence

import torch
from diffusers.models.autoencoders.vae import DecoderTiny
from torch import Tensor, nn
from torch.nn import functional

from modules.backend.loading.state_dict import read_state_dict
from modules.backend.previews.latent_to_rgb import PATCH_SIDE, FlatColours
from modules.core.errors import WebUIError
from modules.models.files.header import read_header
from modules.models.files.scan import ModelFile

logger = logging.getLogger(__name__)

# A layer's number and the rest of its key. TAESD's own files count the clamp as layer 0, diffusers' do not.
_OWN_KEY = re.compile(r"(?:taesd_decoder\.)?(\d+)\.(.+)")
_DIFFUSERS_KEY = re.compile(r"decoder\.layers\.(\d+)\.(.+)")
_APPROX_KEY = re.compile(r"conv[1-8]\.(?:weight|bias)")
# Channels and kernels of VAE-approx; without padding they lose 22 pixels.
_APPROX_CHANNELS = (8, 16, 32, 64, 32, 16, 8, 3)
_APPROX_KERNELS = (7, 5, 3, 3, 3, 3, 3, 3)
_APPROX_PADDING = 11
# Flat latents with a margin, whose border is not looked at.
_MARGIN = 2
# The share of the variance of a VAE's colours that a decoder made for it explains; one for another VAE explains none.
_LEAST_AGREEMENT = 0.25


class ApproxNetwork(nn.Module):
    """A1111's "Approx NN" (VAE-approx): eight convolutions that give an image of two pixels per latent cell.

    Args:
        channels: Of the latents.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        before = (channels, *_APPROX_CHANNELS[:-1])
        rows = zip(before, _APPROX_CHANNELS, _APPROX_KERNELS, strict=True)
        for number, row in enumerate(rows, start=1):
            self.add_module(f"conv{number}", nn.Conv2d(*row))

    def forward(self, latents: Tensor) -> Tensor:
        """Return [batch, 3, 2 height, 2 width], about -1 to 1."""
        x = functional.interpolate(latents, scale_factor=2)
        x = functional.pad(x, (_APPROX_PADDING,) * 4)
        for layer in self.children():
            x = functional.leaky_relu(layer(x), 0.1)
        return x


def find_network(
    files: Sequence[ModelFile], network_class: type[nn.Module], colours: FlatColours
) -> nn.Module | None:
    """Return the network that decodes flat latents to nearly the colours of a VAE; None if there is none.

    Files say nothing of the VAE that they were made for, and their names mean nothing.

    Args:
        files: In which it is searched.
        network_class: DecoderTiny or ApproxNetwork.
        colours: Of the VAE.
    """
    found = [
        (agreement(network, colours), network)
        for file in files
        if isinstance(network := read_network(file), network_class)
    ]
    best = max(found, key=lambda item: item[0], default=None)
    return best[1] if best is not None and best[0] >= _LEAST_AGREEMENT else None


def agreement(network: nn.Module, colours: FlatColours) -> float:
    """Return how well a network decodes flat latents to a VAE's colours: 1 exactly, 0 no better than their mean."""
    channels = next(network.parameters()).shape[1]
    if channels != colours.latents.shape[1]:
        return -1.0
    side = PATCH_SIDE + 2 * _MARGIN
    decoded = network(colours.latents[:, :, None, None].expand(-1, -1, side, side))
    margin = decoded.shape[2] * _MARGIN // side
    ours = decoded[:, :, margin:-margin, margin:-margin].mean(dim=(2, 3))
    error = ((ours - colours.colours) ** 2).sum()
    variance = ((colours.colours - colours.colours.mean(dim=0)) ** 2).sum()
    return 1 - float(error / variance)


def read_network(file: ModelFile) -> nn.Module | None:
    """Return the network of a file, in 32-bit floats on the CPU; None if it holds no decoder known here."""
    try:
        state_dict = read_state_dict(file.path, read_header(file.path))
        weights = {key: state_dict.read(tensor).float() for key, tensor in state_dict.items()}
        return build_network(weights)
    except (WebUIError, OSError, RuntimeError) as error:
        logger.warning("'%s' makes no previews: %s", file.name, str(error).splitlines()[0])
        return None


def build_network(weights: Mapping[str, Tensor]) -> nn.Module | None:
    """Return the network that these weights belong to; None if there is none.

    Raises:
        RuntimeError: weights are missing, or of another shape.
    """
    if "conv1.weight" in weights and all(map(_APPROX_KEY.fullmatch, weights)):
        network = ApproxNetwork(weights["conv1.weight"].shape[1])
    else:
        weights = _tiny_decoder_weights(weights)
        if weights.get("layers.0.weight", torch.empty(0)).dim() != 4:
            return None
        network = _make_tiny_decoder(weights)
    network.load_state_dict(dict(weights))
    return network.eval().requires_grad_(requires_grad=False)


def _tiny_decoder_weights(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights of a decoder in TAESD's layout by diffusers' keys."""
    found: dict[str, Tensor] = {}
    for key, weight in weights.items():
        own, diffusers = _OWN_KEY.fullmatch(key), _DIFFUSERS_KEY.fullmatch(key)
        match = own or diffusers
        if match:
            found[f"layers.{int(match[1]) - bool(own)}.{match[2]}"] = weight
    return found


def _make_tiny_decoder(weights: Mapping[str, Tensor]) -> DecoderTiny:
    """Return a decoder of the size that the weights have; TAESD has 64 channels and 3, 3, 3 and 1 blocks."""
    blocks, width = [0], weights["layers.0.weight"].shape[0]
    numbers = {int(key.split(".")[1]) for key in weights}
    for number in sorted(numbers - {0}):
        if f"layers.{number}.conv.0.weight" in weights:
            blocks[-1] += 1
        else:  # the convolution after each size, the last one being that of the colours
            blocks.append(0)
    stages = tuple(blocks[:-1])
    channels = weights["layers.0.weight"].shape[1]
    return DecoderTiny(channels, 3, stages, (width,) * len(stages), 2, "relu", "nearest")
