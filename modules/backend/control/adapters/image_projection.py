"""IP-Adapter's image projections: from the output of an image encoder to tokens that the UNet attends to."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

import torch
from diffusers.models.embeddings import (
    ImageProjection,
    IPAdapterFullImageProjection,
    IPAdapterPlusImageProjection,
)
from torch import nn

from modules.backend.control.adapters.weights import (
    AdapterFile,
    RowSlice,
    WeightKey,
    without_weights,
)
from modules.models.control.ip_adapter import IPAdapterFacts, Projection

_PREFIX = "image_proj."
_HEAD = 64  # width of a resampler's heads, in every published adapter
_PLAIN_NAMES = {"image_embeds": "proj"}
_FULL_NAMES = {"ff.net.0.proj": "proj.0", "ff.net.2": "proj.2", "norm": "proj.3"}
# Within layer N of the resampler.
_PLUS_NAMES = {
    "ln0": "0.norm1",
    "ln1": "0.norm2",
    "attn.to_q": "0.to_q",
    "attn.to_out.0": "0.to_out",
    "ff.0": "1.0",
    "ff.1.net.0.proj": "1.1",
    "ff.1.net.2": "1.3",
}


_LAYER = re.compile(r"layers\.(\d+)\.(.+)\.(weight|bias)")


def load_projection(
    file: AdapterFile, facts: IPAdapterFacts, names: Mapping[str, str], device: torch.device
) -> nn.Module:
    """Return the image projection of an IP-Adapter, in float32.

    Args:
        file: The opened file.
        facts: Its header's.
        names: Of its tensors, by their canonical names.
        device: To compute on.

    Raises:
        BadFile: weights are missing.
    """
    shapes = {name: tuple(file.find(actual).shape) for name, actual in names.items()}
    with without_weights():
        projection = _PROJECTIONS[facts.projection](facts, shapes)

    def file_key(key: str) -> WeightKey:
        if _PREFIX + key in names:  # diffusers' own names
            return names[_PREFIX + key]
        found = _original_key(key, facts)
        if isinstance(found, RowSlice):
            return found._replace(key=names.get(found.key, found.key))
        return names.get(found, found)

    return file.load_into(projection, file_key, torch.float32, device)


Shapes = Mapping[str, tuple[int, ...]]


def _make_plain(facts: IPAdapterFacts, shapes: Shapes) -> nn.Module:
    rows = next(
        shapes[_PREFIX + key][0]
        for key in ("proj.weight", "image_embeds.weight")
        if _PREFIX + key in shapes
    )
    return ImageProjection(facts.image_width, facts.context_width, rows // facts.context_width)


def _make_full(facts: IPAdapterFacts, _shapes: Shapes) -> nn.Module:
    return IPAdapterFullImageProjection(facts.image_width, facts.context_width)


def _make_plus(facts: IPAdapterFacts, shapes: Shapes) -> nn.Module:
    def rows(*keys: str) -> int:
        return next(shapes[_PREFIX + key][0] for key in keys if _PREFIX + key in shapes)

    _, queries, width = shapes[_PREFIX + "latents"]
    layers = {
        int(match[1])
        for name in shapes
        if (match := _LAYER.fullmatch(name.removeprefix(_PREFIX))) is not None
    }
    attention = rows("layers.0.0.to_q.weight", "layers.0.attn.to_q.weight")
    inner = rows("layers.0.1.1.weight", "layers.0.ff.1.net.0.proj.weight")
    return IPAdapterPlusImageProjection(
        embed_dims=facts.image_width,
        output_dims=facts.context_width,
        hidden_dims=width,
        depth=len(layers),
        dim_head=_HEAD,
        heads=attention // _HEAD,
        num_queries=queries,
        ffn_ratio=inner / width,
    )


_PROJECTIONS: Mapping[Projection, Callable[[IPAdapterFacts, Shapes], nn.Module]] = {
    "plain": _make_plain,
    "plus": _make_plus,
    "full": _make_full,
}


def _original_key(key: str, facts: IPAdapterFacts) -> str | RowSlice:
    """Return the published files' key of a key of diffusers' projections."""
    if facts.projection == "plus":
        match = _LAYER.fullmatch(key)
        if match is None:
            return _PREFIX + key
        number, module, leaf = match.groups()
        layer = f"{_PREFIX}layers.{number}."
        if module in ("attn.to_k", "attn.to_v"):
            return RowSlice(f"{layer}0.to_kv.weight", int(module == "attn.to_v"), 2)
        return f"{layer}{_PLUS_NAMES.get(module, module)}.{leaf}"
    module, _, leaf = key.rpartition(".")
    renamed = _PLAIN_NAMES if facts.projection == "plain" else _FULL_NAMES
    return f"{_PREFIX}{renamed.get(module, module)}.{leaf}"
