"""Computes a UNet's attention in another way than PyTorch chooses, by diffusers' dispatcher or PyTorch's own switch.

The processor that stock UNets have calls PyTorch's function itself, so that `set_attention_backend` of diffusers, which also
changes every other model of the process, has no effect on them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import torch
from diffusers.models.attention_dispatch import (
    AttentionBackendName,
    dispatch_attention_fn,
)
from diffusers.models.attention_processor import Attention, AttnProcessor2_0
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from modules.backend.memory.offload import execution_device
from modules.params.attentions import ATTENTIONS, AUTOMATIC, find_attention
from modules.params.attentions import Attention as AttentionRow

# Of PyTorch's kernels, by the names of ATTENTIONS. "math" is the last resort of the others: it computes anything.
_KERNELS: Mapping[str, list[SDPBackend]] = MappingProxyType(
    {
        "sdp-no-mem": [SDPBackend.FLASH_ATTENTION, SDPBackend.CUDNN_ATTENTION, SDPBackend.MATH],
        "cuDNN": [
            SDPBackend.CUDNN_ATTENTION,
            SDPBackend.FLASH_ATTENTION,
            SDPBackend.EFFICIENT_ATTENTION,
            SDPBackend.MATH,
        ],
        "math": [SDPBackend.MATH],
    }
)
# Of diffusers' dispatcher, by the same names.
_DISPATCHED: Mapping[str, AttentionBackendName] = MappingProxyType(
    {
        "xformers": AttentionBackendName.XFORMERS,
        "Flash Attention": AttentionBackendName.FLASH,
        "Sage Attention": AttentionBackendName.SAGE,
    }
)


@dataclass(frozen=True)
class DispatchedAttention:
    """Stands in for the stock processor of an attention layer.

    Args:
        backend: Computes it.
        widest_head: Layers with wider heads keep the stock processor; None for no limit.
        stock: The processor of such layers.
    """

    backend: AttentionBackendName
    widest_head: int | None = None
    stock: Callable[..., Tensor] = field(default_factory=AttnProcessor2_0)

    def __call__(
        self,
        attention: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: Tensor | None = None,
        temb: Tensor | None = None,
        **kwargs: Any,
    ) -> Tensor:
        """Return what the layer computes; the arguments are those of the stock processor."""
        to_k, to_v, heads = attention.to_k, attention.to_v, attention.heads
        assert to_k is not None and to_v is not None
        width = attention.inner_dim // heads
        is_special = (
            attention_mask is not None
            or hidden_states.ndim == 4
            or attention.norm_q is not None
            or attention.norm_k is not None
            or attention.norm_cross
            or attention.group_norm is not None
            or attention.residual_connection
        )
        if is_special or (self.widest_head is not None and width > self.widest_head):
            return self.stock(
                attention, hidden_states, encoder_hidden_states, attention_mask, temb, **kwargs
            )
        context = hidden_states if encoder_hidden_states is None else encoder_hidden_states
        query, key, value = (
            projected.unflatten(-1, (heads, width))  # [rows, tokens, heads, width]
            for projected in (attention.to_q(hidden_states), to_k(context), to_v(context))
        )
        attended = dispatch_attention_fn(query, key, value, backend=self.backend)
        result: Tensor = attended.flatten(2).to(query.dtype)
        for layer in attention.to_out or ():
            result = layer(result)
        return result / attention.rescale_output_factor


def find_obstacle(
    unet: UNet2DConditionModel, name: str, attentions: Sequence[AttentionRow] = ATTENTIONS
) -> str:
    """Return why attention cannot be computed so in a UNet, as the rest of a sentence; "" where it can."""
    is_half = unet.dtype.itemsize < torch.float32.itemsize
    row = find_attention(name, attentions)
    return row.find_obstacle(execution_device(unet).type, is_half=is_half)


@contextmanager
def use_attention(
    unet: UNet2DConditionModel, name: str, attentions: Sequence[AttentionRow] = ATTENTIONS
) -> Iterator[None]:
    """Compute the attention of a UNet in another way.

    Layers with a processor of somebody else's, such as an IP-Adapter, keep it.

    Args:
        unet: The UNet.
        name: A row of ATTENTIONS; one that the UNet cannot use changes nothing.
        attentions: All rows.
    """
    if name == AUTOMATIC or find_obstacle(unet, name, attentions):
        yield
        return
    kernels, backend = _KERNELS.get(name), _DISPATCHED.get(name)
    if kernels is not None:
        with sdpa_kernel(kernels, set_priority=name == "cuDNN"):
            yield
        return
    assert backend is not None, "a row is PyTorch's or the dispatcher's"
    processor = DispatchedAttention(backend, find_attention(name, attentions).widest_head)
    layers = [one for one in unet.modules() if isinstance(one, Attention)]
    changed = [(one, one.processor) for one in layers if type(one.processor) is AttnProcessor2_0]
    try:
        for layer, _ in changed:
            layer.processor = processor  # pyright: ignore[reportAttributeAccessIssue] - it is called alike
        yield
    finally:
        for layer, stock in changed:
            layer.processor = stock
