"""The text encoder of a checkpoint: sizes from the .yaml, a local config.json, or the tensor shapes."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from modules.core.errors import UserError
from modules.models.files.header import Header
from modules.models.ldm.keys import count_submodules, find_key
from modules.models.ldm.text_encoder_layouts import (
    CLIP_LAYOUT,
    COND_STAGE_SLOT,
    OPEN_CLIP_KIND,
    TextEncoderLayout,
    TextEncoderSlot,
    detect_text_encoder_layout,
)
from modules.models.ldm.yaml import YamlSection, read_config_text

HEAD_WIDTH = 64  # of CLIP ViT-L and OpenCLIP ViT-H; tensor shapes do not determine it
ACTIVATIONS = ("quick_gelu", "gelu")


@dataclass(frozen=True)
class TextConfig:
    """A CLIP text encoder, mostly with the names of transformers' CLIPTextConfig.

    Args:
        layout: The layout of its tensors in the file.
        num_hidden_layers: Layers that are computed.
        skipped_layer_count: Further layers in the file.
        has_projection: Whether the pooled output is projected.
        hidden_layer: Which layer gives the hidden states, counted from the last computed one, which is 1.
        final_norm: Whether the final norm is applied to the hidden states.
    """

    layout: TextEncoderLayout
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    max_position_embeddings: int
    projection_dim: int
    hidden_act: str
    layer_norm_eps: float
    skipped_layer_count: int
    has_projection: bool = False
    hidden_layer: int = 1
    final_norm: bool = True


def read_text_config(
    model: YamlSection, header: Header, slot: TextEncoderSlot = COND_STAGE_SLOT
) -> TextConfig:
    """Return the sizes of a text encoder.

    Args:
        model: `model.params` of the .yaml. The params of what describes the text encoder, such as `cond_stage_config`,
            may hold `text_config`, or a `version` that names a local folder with a config.json; names of a hub are
            not looked up.
        header: Header of the file that contains the text encoder; its shapes supply what the .yaml does not set.
        slot: Which text encoder of the checkpoint.

    Raises:
        UserError: the .yaml names a missing folder or has invalid values.
    """
    params = model.at(slot.config_path).section("params")
    params.require_supported({"layer": ("last", "penultimate", "hidden")})
    text_config = params.section("text_config")
    if not text_config.values:
        text_config = _read_local_config(params) or text_config
    layout = detect_text_encoder_layout(header.tensors, slot) or CLIP_LAYOUT.under(slot.prefix)
    defaults = _sizes_from_tensors(header, layout, slot.has_projection)
    unused_count = _count_unused_layers(params, slot, layout, defaults["num_hidden_layers"])
    # The projection needs all layers, and clip skip of SDXL counts from the last one.
    skipped_count = unused_count if slot.final_norm and not slot.has_projection else 0
    defaults["num_hidden_layers"] -= skipped_count
    sizes = {name: text_config.integer(name, size) for name, size in defaults.items()}
    heads = text_config.integer("num_attention_heads", max(1, sizes["hidden_size"] // HEAD_WIDTH))
    if heads < 1 or sizes["hidden_size"] % heads:
        raise text_config.invalid_value(
            "num_attention_heads", f"a divisor of hidden_size {sizes['hidden_size']}"
        )
    activation = text_config.string("hidden_act", layout.hidden_act)
    if activation not in ACTIVATIONS:
        raise text_config.invalid_value("hidden_act", " or ".join(ACTIVATIONS))
    return TextConfig(
        **sizes,
        layout=layout,
        skipped_layer_count=skipped_count,
        num_attention_heads=heads,
        hidden_act=activation,
        layer_norm_eps=text_config.number("layer_norm_eps", 1e-5),
        has_projection=slot.has_projection,
        hidden_layer=1 + unused_count - skipped_count,
        # The original code of SDXL takes the last layer, where a .yaml asks for it, with its norm.
        final_norm=slot.final_norm or params.string("layer", "") == "last",
    )


def _count_unused_layers(
    params: YamlSection, slot: TextEncoderSlot, layout: TextEncoderLayout, layer_count: int
) -> int:
    """Return how many of the file's layers give no hidden states: SD 2.x and SDXL use the penultimate one."""
    uses_penultimate = layout.kind == OPEN_CLIP_KIND or not slot.final_norm
    layer = params.string("layer", "penultimate" if uses_penultimate else "last")
    if layer == "hidden":
        index = params.integer("layer_idx", layer_count - 1)
        if not 0 < index <= layer_count:
            raise params.invalid_value("layer_idx", f"a layer from 1 to {layer_count}")
        return layer_count - index
    return int(layer == "penultimate" and layer_count >= layout.full_layer_count)


def _sizes_from_tensors(
    header: Header, layout: TextEncoderLayout, has_projection: bool
) -> dict[str, int]:
    vocab_size, hidden_size = _shape(header, layout.token_embedding_key)
    # Which of its axes is which depends on the layout.
    projection = _shape(header, layout.projection_key) if has_projection else (0, 0)
    return {
        "vocab_size": vocab_size,
        "hidden_size": hidden_size,
        "intermediate_size": _shape(header, layout.mlp_key)[0],
        "num_hidden_layers": count_submodules(header.tensors, layout.layers_prefix),
        "max_position_embeddings": _shape(header, layout.position_embedding_key)[0],
        "projection_dim": sum(projection) - hidden_size if has_projection else hidden_size,
    }


def _shape(header: Header, name: str) -> tuple[int, int]:
    key = find_key(header.tensors, name)
    shape = header.tensors[key].shape if key else ()
    if len(shape) != 2:
        raise UserError(f"The text encoder lacks {name}.", "Get the complete file.")
    return shape[0], shape[1]


def _read_local_config(params: YamlSection) -> YamlSection | None:
    """Return the config.json of the folder that `version` names, None when it names something else."""
    version = params.string("version", "")
    if not version:
        return None
    try:
        # An absolute version wins.
        file = params.file.parent / Path(version).expanduser() / "config.json"
        is_file = file.is_file()
    except (OSError, RuntimeError, ValueError) as error:  # too long, or the home of nobody
        raise params.invalid_value("version", "the name of a folder") from error
    if not is_file:
        if Path(version).is_absolute() or version.startswith("."):
            raise UserError(
                f"'{params.file}' names the text encoder '{version}', but '{file}' does not exist."
            )
        return None
    try:
        content: object = json.loads(read_config_text(file))
    except (ValueError, RecursionError) as error:
        raise UserError(f"'{file}' is broken: {error}.") from error
    if not isinstance(content, dict):
        raise UserError(f"'{file}' does not describe a text encoder.")
    values = cast("dict[str, Any]", content)  # JSON: anything, checked when read
    nested = YamlSection(values, file).section("text_config")  # of a full CLIP model
    return nested if nested.values else YamlSection(values, file)
