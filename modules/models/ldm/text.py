"""The text encoder of a checkpoint: sizes from the .yaml, a local config.json, or the tensors themselves."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from modules.core.errors import UserError
from modules.models.files.header import Header
from modules.models.ldm.names import (
    CLIP_LAYOUT,
    OPEN_CLIP_KIND,
    TextEncoderLayout,
    count_submodules,
    detect_text_encoder_layout,
    find_key,
)
from modules.models.ldm.yaml import YamlSection

HEAD_WIDTH = 64  # of CLIP ViT-L and OpenCLIP ViT-H; the tensors do not tell it
ACTIVATIONS = ("quick_gelu", "gelu")


@dataclass(frozen=True)
class TextConfig:
    """A CLIP text encoder, mostly in the words of transformers' CLIPTextConfig.

    Args:
        layout: How the file spells its tensors.
        num_hidden_layers: Those that are computed.
        skipped_layer_count: How many more the file has.
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


def read_text_config(model: YamlSection, header: Header) -> TextConfig:
    """Return the sizes of the text encoder.

    Args:
        model: `model.params` of the .yaml. The params of its `cond_stage_config` may hold `text_config`, or a
            `version` that names a local folder with a config.json; names of a hub are not looked up.
        header: Of the file that carries the text encoder; its tensors say what the .yaml does not.

    Raises:
        UserError: the .yaml names a folder that is not there, or values that cannot be.
    """
    params = model.section("cond_stage_config").section("params")
    params.require_supported({"layer": ("last", "penultimate")})
    given = params.section("text_config")
    if not given.values:
        given = _local_folder(params) or given
    layout = detect_text_encoder_layout(header.tensors) or CLIP_LAYOUT
    found = _from_tensors(header, layout)
    skipped = _skipped_layers(params, layout, found["num_hidden_layers"])
    found["num_hidden_layers"] -= skipped
    sizes = {name: given.integer(name, size) for name, size in found.items()}
    heads = given.integer("num_attention_heads", max(1, sizes["hidden_size"] // HEAD_WIDTH))
    if heads < 1 or sizes["hidden_size"] % heads:
        raise given.invalid_value(
            "num_attention_heads", f"a divisor of hidden_size {sizes['hidden_size']}"
        )
    activation = given.string("hidden_act", layout.hidden_act)
    if activation not in ACTIVATIONS:
        raise given.invalid_value("hidden_act", " or ".join(ACTIVATIONS))
    return TextConfig(
        **sizes,
        layout=layout,
        skipped_layer_count=skipped,
        num_attention_heads=heads,
        hidden_act=activation,
        layer_norm_eps=given.number("layer_norm_eps", 1e-5),
    )


def _skipped_layers(params: YamlSection, layout: TextEncoderLayout, layer_count: int) -> int:
    """Return how many of the file's layers are not computed: SD 2.x ends before the last one."""
    default = "penultimate" if layout.kind == OPEN_CLIP_KIND else "last"
    ends_early = params.string("layer", default) == "penultimate"
    return int(ends_early and layer_count >= layout.full_layer_count)


def _from_tensors(header: Header, layout: TextEncoderLayout) -> dict[str, int]:
    vocab, width = _shape(header, layout.token_embedding_key)
    return {
        "vocab_size": vocab,
        "hidden_size": width,
        "intermediate_size": _shape(header, layout.mlp_key)[0],
        "num_hidden_layers": count_submodules(header.tensors, layout.layers_prefix),
        "max_position_embeddings": _shape(header, layout.position_embedding_key)[0],
        "projection_dim": width,
    }


def _shape(header: Header, name: str) -> tuple[int, int]:
    actual = find_key(header.tensors, name)
    shape = header.tensors[actual].shape if actual else ()
    if len(shape) != 2:
        raise UserError(f"The text encoder lacks {name}.", "Get its full file.")
    return shape[0], shape[1]


def _local_folder(params: YamlSection) -> YamlSection | None:
    """Return the config.json of the folder that `version` names, None when it names something else."""
    version = params.string("version", "")
    if not version:
        return None
    file = (
        params.file.parent / Path(version).expanduser() / "config.json"
    )  # an absolute version wins
    if not file.is_file():
        if Path(version).is_absolute() or version.startswith("."):
            raise UserError(
                f"'{params.file}' names the text encoder '{version}', but '{file}' does not exist."
            )
        return None
    try:
        content: object = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"'{file}' is broken: {error}.") from error
    if not isinstance(content, dict):
        raise UserError(f"'{file}' is not the description of a text encoder.")
    values = cast("dict[str, Any]", content)  # JSON: anything, checked when read
    nested = YamlSection(values, file).section("text_config")  # of a whole CLIP model
    return nested if nested.values else YamlSection(values, file)
