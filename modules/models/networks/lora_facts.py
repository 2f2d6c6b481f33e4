"""What a LoRA file's header tells: its family, by shapes and by the metadata of its trainer, its names and its faults."""

from __future__ import annotations

from collections.abc import Callable, Mapping

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


def read_lora_facts(header: Header, name: str) -> NetworkFacts:
    """Return the facts of a LoRA file.

    Args:
        header: Of the file.
        name: The file's, for messages.
    """
    layers = group_parts(header.tensors)
    metadata = header.metadata
    alias = metadata.get("ss_output_name", "")
    stored_hash = metadata.get("sshs_model_hash", "").lower()
    is_hash = len(stored_hash) == _HASH_LENGTH and all(c in "0123456789abcdef" for c in stored_hash)
    return NetworkFacts(
        _find_family(layers, header),
        _find_error(layers, header, name),
        alias if len(alias) <= _MAX_ALIAS else "",
        stored_hash if is_hash else "",
        min(header.byte_offsets.values(), default=0),
        any(key.startswith(BUNDLED_PREFIX) for key in header.tensors),
        any(metadata.get(key) for key in COVER_KEYS),
    )


def _find_error(layers: Mapping[LoraKey, Mapping[str, str]], header: Header, name: str) -> str:
    for layer, parts in layers.items():
        if find_format(parts) is None:
            listing = ", ".join(sorted(parts)[:4])
            return f"'{name}' has a layer of an unknown kind, {layer.layer} ({listing})."
    if not layers and not any(key.startswith(BUNDLED_PREFIX) for key in header.tensors):
        return f"'{name}' changes no layer of a model that is known here."
    return ""


def _find_family(layers: Mapping[LoraKey, Mapping[str, str]], header: Header) -> str:
    """Return the family, by shapes before the metadata: a merged or extracted file may have those of another."""
    for layer, parts in layers.items():
        if layer.network == "unet" and layer.module.endswith(_CROSS_ATTENTION):
            family = _FAMILY_OF_CONTEXT.get(_input_width(parts, header.tensors), "")
            if family:
                return family
    if any(layer.network == "text encoder 2" for layer in layers):
        return "SDXL"
    for sign, family in _FAMILY_OF_LAYER:
        if any(sign in key for key in header.tensors):
            return family
    return _find_stated_family(header.metadata)


def _find_stated_family(metadata: Mapping[str, str]) -> str:
    base = metadata.get("ss_base_model_version", "") or metadata.get("modelspec.architecture", "")
    found = (family for start, family in _FAMILY_OF_BASE if base.lower().startswith(start))
    return next(found, "SD 2.x" if metadata.get("ss_v2") == "True" else "")


def _input_width(parts: Mapping[str, str], tensors: Mapping[str, TensorInfo]) -> int:
    """Return the number of inputs of a layer, 0 where its format does not tell."""
    for part, axis in _INPUT_WIDTHS:
        shape = tensors[parts[part]].shape if part in parts else ()
        if axis < len(shape):
            return shape[axis]
    return 0


ReadFacts = Callable[[Header, str], NetworkFacts]
