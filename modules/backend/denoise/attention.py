"""Computes a UNet's attention in another way than PyTorch chooses: by its own switch, diffusers' dispatcher or a formula.

The processor that stock UNets have calls PyTorch's function itself, so that `set_attention_backend` of diffusers, which also
changes every other model of the process, has no effect on them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
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
# As many bytes of weights lie in a processor's caches.
_LARGEST_SLICE = 32 * 2**20
# From queries, keys and values, [rows, tokens, heads, width] each, to what the queries attend to, likewise.
Formula = Callable[[Tensor, Tensor, Tensor], Tensor]


def dispatch(backend: AttentionBackendName) -> Formula:
    """Return what a backend of diffusers' dispatcher computes."""
    return partial(dispatch_attention_fn, backend=backend)


def attend_in_slices(
    query: Tensor, key: Tensor, value: Tensor, largest: int = _LARGEST_SLICE
) -> Tensor:
    """Return softmax(query (key / sqrt(width))^T) value by plain matrix products, as InvokeAI wrote it.

    It rounds as A1111 does on a processor: keys, not products, are divided.

    Args:
        query: [rows, tokens, heads, width].
        key: [rows, context tokens, heads, width].
        value: Likewise.
        largest: How many bytes of weights are computed at once; at least one head's.
    """
    rows, tokens, heads, width = query.shape
    queries, keys, values = (
        one.transpose(1, 2).reshape(rows * heads, -1, width)
        for one in (query, key * width**-0.5, value)
    )
    result = torch.empty_like(queries)
    at_once = max(1, largest // (tokens * keys.shape[1] * query.itemsize))
    for start in range(0, rows * heads, at_once):
        part = slice(start, start + at_once)
        weights = torch.bmm(queries[part], keys[part].transpose(1, 2)).softmax(dim=-1)
        torch.bmm(weights, values[part], out=result[part])
    return result.view(rows, heads, tokens, width).transpose(1, 2)


# Of a processor of our own, by the same names.
_FORMULAS: Mapping[str, Formula] = MappingProxyType(
    {
        "InvokeAI": attend_in_slices,
        "xformers": dispatch(AttentionBackendName.XFORMERS),
        "Flash Attention": dispatch(AttentionBackendName.FLASH),
        "Sage Attention": dispatch(AttentionBackendName.SAGE),
    }
)


@dataclass(frozen=True)
class DispatchedAttention:
    """Stands in for the stock processor of an attention layer.

    Args:
        formula: Computes it.
        widest_head: Layers with wider heads keep the stock processor; None for no limit.
        stock: The processor of such layers.
    """

    formula: Formula
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
        attended = self.formula(query, key, value)
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
    kernels = _KERNELS.get(name)
    if kernels is not None:
        with sdpa_kernel(kernels, set_priority=name == "cuDNN"):
            yield
        return
    processor = DispatchedAttention(_FORMULAS[name], find_attention(name, attentions).widest_head)
    layers = [one for one in unet.modules() if isinstance(one, Attention)]
    changed = [(one, one.processor) for one in layers if type(one.processor) is AttnProcessor2_0]
    try:
        for layer, _ in changed:
            layer.processor = processor  # pyright: ignore[reportAttributeAccessIssue] - it is called alike
        yield
    finally:
        for layer, stock in changed:
            layer.processor = stock
