"""IP-Adapter files by their headers: which projection they have, which image encoder they read, and their families."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from modules.models.files.header import TensorInfo

Projection = Literal["plain", "plus", "full"]
# Of the layers that the projection's embeddings become keys and values in, in the order of the file.
_LAYER = re.compile(r"(\d+)\.to_([kv])_ip\.weight")
_PROJECTION, _ADAPTER = "image_proj.", "ip_adapter."
# Of the trainer's own checkpoints, and of a UNet that diffusers saved with one adapter.
_PREFIXES = {
    "image_proj_model.": _PROJECTION,
    "adapter_modules.": _ADAPTER,
    "encoder_hid_proj.image_projection_layers.0.": _PROJECTION,
}
_PROCESSOR = re.compile(r"(?:unet\.)?(.+)\.attn2\.processor\.to_([kv])_ip\.0\.weight")
_FACE_REASON = (
    "needs a network that recognizes faces, which this program does not have."
    " Use ip-adapter-plus-face or ip-adapter-full-face instead."
)


@dataclass(frozen=True)
class IPAdapterFacts:
    """Facts from the header of an IP-Adapter.

    Args:
        projection: "plain" makes tokens of the image's embedding, "plus" and "full" of all its hidden states.
        image_width: Of the embedding, or of a hidden state, that it reads from the image encoder.
        context_width: Of its tokens, as wide as those of the text.
        layer_count: Of the cross-attention layers that it adds to.
    """

    projection: Projection
    image_width: int
    context_width: int
    layer_count: int

    @property
    def reads_hidden_states(self) -> bool:
        """Return whether it reads the hidden states of the image encoder, not its embedding."""
        return self.projection != "plain"


def canonical_names(names: Iterable[str]) -> dict[str, str]:
    """Return the names in a file by those of the published files, `image_proj.*` and `ip_adapter.N.to_k_ip.weight`."""
    found: dict[str, str] = {}
    processors: dict[str, dict[str, str]] = {}
    for name in names:
        match = _PROCESSOR.fullmatch(name)
        if match is not None:
            processors.setdefault(match[1], {})[match[2]] = name
            continue
        prefix = next((prefix for prefix in _PREFIXES if name.startswith(prefix)), None)
        if prefix is not None:
            found[_PREFIXES[prefix] + name.removeprefix(prefix)] = name
        elif name.startswith((_PROJECTION, _ADAPTER)):
            found[name] = name
    for number, block in enumerate(sorted(processors, key=_processor_order)):
        for kind, name in processors[block].items():
            found[f"{_ADAPTER}{2 * number + 1}.to_{kind}_ip.weight"] = name
    return found


def _processor_order(block: str) -> tuple[int, list[int]]:
    """Return the place of a block among the layers of a file: down, up, middle."""
    part = ("down_blocks", "up_blocks", "mid_block").index(block.partition(".")[0])
    return part, [int(number) for number in re.findall(r"\d+", block)]


def layer_names(names: Iterable[str]) -> list[tuple[str, str]]:
    """Return the canonical names of the weights of each layer, for keys and values, in the order of the layers."""
    layers: dict[int, dict[str, str]] = {}
    for name in names:
        match = _LAYER.fullmatch(name.removeprefix(_ADAPTER))
        if match is not None:
            layers.setdefault(int(match[1]), {})[match[2]] = name
    return [
        (weights["k"], weights["v"]) for _, weights in sorted(layers.items()) if len(weights) == 2
    ]


def read_facts(tensors: Mapping[str, TensorInfo]) -> IPAdapterFacts | str:
    """Return the facts from the header of an IP-Adapter, or why it cannot be used, as the rest of a sentence.

    Args:
        tensors: By name, of the file.
    """
    names = canonical_names(tensors)
    shapes = {name: tensors[actual].shape for name, actual in names.items()}
    error = _find_error(shapes)
    layers = layer_names(shapes)
    if error or not layers:
        return error or "has no layers for the UNet, so it is incomplete. Download it again."
    context_width = shapes[layers[0][0]][-1]
    for projection, keys in _WIDTH_KEYS.items():
        width = next((shapes[_PROJECTION + key] for key in keys if _PROJECTION + key in shapes), ())
        if len(width) == 2:
            return IPAdapterFacts(projection, width[1], context_width, len(layers))
    return "has a projection that this program does not know."


# The first weight of each projection, whose columns are what it reads, as published and as diffusers saves it.
_WIDTH_KEYS: Mapping[Projection, tuple[str, ...]] = {
    "plain": ("proj.weight", "image_embeds.weight"),
    "plus": ("proj_in.weight",),
    "full": ("proj.0.weight", "ff.net.0.proj.weight"),
}


def _find_error(shapes: Mapping[str, tuple[int, ...]]) -> str:
    """Return why an adapter for faces cannot be used, "" for any other."""
    has_face_layers = any("_lora." in name or ".perceiver_resampler." in name for name in shapes)
    if has_face_layers or {_PROJECTION + "norm.weight", _PROJECTION + "proj.2.weight"} <= set(
        shapes
    ):
        return f"is an IP-Adapter FaceID, which {_FACE_REASON}"
    if any(name.startswith(_PROJECTION + "mapping") for name in shapes):
        return f"is a PuLID, which {_FACE_REASON}"
    width = shapes.get(_PROJECTION + "proj_in.weight", (0, 0))[1]
    return f"is an InstantID, which {_FACE_REASON}" if width == 512 else ""  # of a face's embedding
