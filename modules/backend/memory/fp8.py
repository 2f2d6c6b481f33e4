"""Stores weights in 8 bits; each layer casts its own while it computes."""

from __future__ import annotations

import torch
from diffusers.hooks import apply_layerwise_casting

from modules.backend.components import Components, Precision

_STORAGE = (
    torch.float8_e4m3fn
)  # A1111's; its 3 bits of fraction suit weights better than the range of e5m2
# Few weights in which an error would count for everything: norms, as diffusers leaves them, and embeddings.
_KEPT = ("norm", "embed", "pos_embed")


def store_in_fp8(components: Components, precision: Precision) -> None:
    """Store the linear layers and convolutions of the UNet and the text encoders in 8 bits, as A1111 does.

    Args:
        components: On the CPU or on the device.
        precision: What each computes in.
    """
    networks = [(components.unet, precision.unet)]
    networks += [(encoder.network, precision.text_encoder) for encoder in components.text_encoders]
    for network, dtype in networks:
        apply_layerwise_casting(network, _STORAGE, dtype, skip_modules_pattern=_KEPT)
