"""The text encoder of a checkpoint: sizes from the .yaml, a local config.json, or the tensors themselves."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from modules.core.errors import UserError
from modules.models.families import TEXT, actual_name
from modules.models.header import Header
from modules.models.yaml_section import Section

HEAD_WIDTH = 64  # of every CLIP text encoder from OpenAI; the tensors do not tell it


@dataclass(frozen=True)
class TextConfig:
    """A CLIP text encoder, in the words of transformers' CLIPTextConfig."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    max_position_embeddings: int
    projection_dim: int
    hidden_act: str = "quick_gelu"
    layer_norm_eps: float = 1e-5


def read_text_config(cond_stage: Section, header: Header) -> TextConfig:
    """Return the sizes of the text encoder.

    Args:
        cond_stage: `cond_stage_config` of the .yaml. Its params may hold `text_config`, or a `version` that
            names a local folder with a config.json; other names, such as those of a hub, are not looked up.
        header: The checkpoint's tensors, which say what the .yaml does not.

    Raises:
        UserError: the .yaml names a folder that is not there, or sizes that cannot be.
    """
    target = cond_stage.text("target", "").rsplit(".", 1)[-1]
    if target == "FrozenOpenCLIPEmbedder":
        raise UserError(
            f"'{cond_stage.file}' describes an OpenCLIP text encoder, but the checkpoint has OpenAI's CLIP.",
            "The .yaml belongs to another model: remove it or get the right one.",
        )
    params = cond_stage.section("params")
    given = params.section("text_config")
    if not given.values:
        given = _local_folder(params) or given
    inferred = _from_tensors(header)
    config = TextConfig(
        **{
            name: given.integer(name, default)
            for name, default in inferred.items()
            if name != "num_attention_heads"
        },
        num_attention_heads=given.integer(
            "num_attention_heads", max(1, inferred["hidden_size"] // HEAD_WIDTH)
        ),
        hidden_act=given.text("hidden_act", "quick_gelu"),
        layer_norm_eps=given.number("layer_norm_eps", 1e-5),
    )
    if config.num_attention_heads < 1 or config.hidden_size % config.num_attention_heads:
        raise given.wrong("num_attention_heads", f"a divisor of hidden_size {config.hidden_size}")
    return config


def _from_tensors(header: Header) -> dict[str, int]:
    vocab, width = _shape(header, "embeddings.token_embedding.weight")
    layer = re.compile(
        re.escape(TEXT).replace(r"text_model\.", r"(?:text_model\.)?") + r"encoder\.layers\.(\d+)\."
    )
    found = (layer.match(name) for name in header.tensors)
    return {
        "vocab_size": vocab,
        "hidden_size": width,
        "intermediate_size": _shape(header, "encoder.layers.0.mlp.fc1.weight")[0],
        "num_hidden_layers": 1 + max((int(match[1]) for match in found if match), default=0),
        "max_position_embeddings": _shape(header, "embeddings.position_embedding.weight")[0],
        "projection_dim": width,
    }


def _shape(header: Header, name: str) -> tuple[int, int]:
    actual = actual_name(header.tensors, TEXT + name)
    shape = header.tensors[actual].shape if actual else ()
    if len(shape) != 2:
        raise UserError(f"The checkpoint's text encoder lacks {name}.", "Get the full checkpoint.")
    return shape[0], shape[1]


def _local_folder(params: Section) -> Section | None:
    """Return the config.json of the folder that `version` names, None when it names something else."""
    version = params.text("version", "")
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
    nested = Section(values, file).section("text_config")  # of a whole CLIP model
    return nested if nested.values else Section(values, file)
