"""Facts from a LoRA file's header: its family, by shapes and by the metadata of its trainer, its names and its faults."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import NamedTuple

from modules.models.files.header import Header, TensorInfo
from modules.models.networks.lora_formats import find_format
from modules.models.networks.lora_keys import BUNDLED_PREFIX, LoraKey, group_parts
from modules.models.networks.network_file import NetworkFacts

# By the width of what cross-attention attends to.
_FAMILY_OF_CONTEXT = {768: "SD 1.x", 1024: "SD 2.x", 2048: "SDXL", 1280: "SDXL refiner"}
# By how a trainer calls the base model: of kohya-ss, and the architecture of the Stability model metadata.
_FAMILY_OF_BASE: tuple[tuple[str, str], ...] = (
    ("sdxl", "SDXL"),
    ("stable-diffusion-xl", "SDXL"),
    ("sd_v2", "SD 2.x"),
    ("stable-diffusion-v2", "SD 2.x"),
    ("sd_v1", "SD 1.x"),
    ("stable-diffusion-v1", "SD 1.x"),
    ("sd3", "SD 3"),
    ("stable-diffusion-3", "SD 3"),
    ("flux", "Flux"),
)
# By layers that only these families have.
_FAMILY_OF_LAYER: tuple[tuple[str, str], ...] = (
    ("double_blocks", "Flux"),
    ("single_transformer_blocks", "Flux"),
    ("joint_blocks", "SD 3"),
    ("transformer_blocks.0.attn.add_k_proj", "SD 3"),
)
# The part of each format that has the width of a layer's input as its size of this axis.
_INPUT_WIDTHS = (("lora_down.weight", 1), ("hada_w1_b", 1), ("diff", 1))
# Of the Stability model metadata, a data URI; of A1111's model metadata editor, a JSON list of pictures in base64.
COVER_KEYS = ("modelspec.thumbnail", "ssmd_cover_images")
_CROSS_ATTENTION = ("attn2_to_k", "attn2_to_v")
_MAX_ALIAS = 300
_HASH_LENGTH = 64


class _Names(NamedTuple):
    """What the names of a file's tensors tell.

    Args:
        attentions: From each part to its key, of the layers of cross-attention of a UNet.
        family: Of layers that no other one has, "" for none.
        fault: Why no LoRA has these names, as the rest of a sentence that begins with the file's, or "".
        has_bundle: Whether there are embeddings among them.
    """

    attentions: tuple[Mapping[str, str], ...]
    family: str
    fault: str
    has_bundle: bool


def read_lora_facts(header: Header, name: str) -> NetworkFacts:
    """Return the facts of a LoRA file.

    Args:
        header: Of the file.
        name: The file's, for messages.
    """
    names = _read_names(tuple(header.tensors))
    metadata = header.metadata
    alias = metadata.get("ss_output_name", "")
    stored_hash = metadata.get("sshs_model_hash", "").lower()
    is_hash = len(stored_hash) == _HASH_LENGTH and all(c in "0123456789abcdef" for c in stored_hash)
    return NetworkFacts(
        _find_family(names, header),
        f"'{name}' {names.fault}" if names.fault else "",
        alias if len(alias) <= _MAX_ALIAS else "",
        stored_hash if is_hash else "",
        header.data_start,
        names.has_bundle,
        any(metadata.get(key) for key in COVER_KEYS),
    )


# Most files have the names of another one: their trainers have the same presets.
@lru_cache(maxsize=64)
def _read_names(keys: tuple[str, ...]) -> _Names:
    layers = group_parts(keys)
    has_bundle = any(key.startswith(BUNDLED_PREFIX) for key in keys)
    attentions = (
        parts
        for layer, parts in layers.items()
        if layer.network == "unet" and layer.module.endswith(_CROSS_ATTENTION)
    )
    return _Names(
        tuple(attentions),
        _find_special_layer(layers, keys),
        _find_fault(layers, has_bundle),
        has_bundle,
    )


def _find_fault(layers: Mapping[LoraKey, Mapping[str, str]], has_bundle: bool) -> str:
    for layer, parts in layers.items():
        if find_format(parts) is None:
            listing = ", ".join(sorted(parts)[:4])
            return f"has a layer of an unknown kind, {layer.layer} ({listing})."
    return "" if layers or has_bundle else "changes no layer of a model that is known here."


def _find_special_layer(layers: Mapping[LoraKey, Mapping[str, str]], keys: tuple[str, ...]) -> str:
    """Return the family that alone has some layer of a file, "" for none."""
    if any(layer.network == "text encoder 2" for layer in layers):
        return "SDXL"
    signs = (family for sign, family in _FAMILY_OF_LAYER if any(sign in key for key in keys))
    return next(signs, "")


def _find_family(names: _Names, header: Header) -> str:
    """Return the family, by shapes before the metadata: a merged or extracted file may have those of another."""
    widths = (_input_width(parts, header.tensors) for parts in names.attentions)
    by_width = next(
        (_FAMILY_OF_CONTEXT[width] for width in widths if width in _FAMILY_OF_CONTEXT), ""
    )
    return by_width or names.family or _find_stated_family(header.metadata)


def _find_stated_family(metadata: Mapping[str, str]) -> str:
    base = metadata.get("ss_base_model_version", "") or metadata.get("modelspec.architecture", "")
    found = (family for start, family in _FAMILY_OF_BASE if base.lower().startswith(start))
    return next(found, "SD 2.x" if metadata.get("ss_v2") == "True" else "")


def _input_width(parts: Mapping[str, str], tensors: Mapping[str, TensorInfo]) -> int:
    """Return the number of inputs of a layer, 0 where its format does not say."""
    for part, axis in _INPUT_WIDTHS:
        shape = tensors[parts[part]].shape if part in parts else ()
        if axis < len(shape):
            return shape[axis]
    return 0


ReadFacts = Callable[[Header, str], NetworkFacts]
