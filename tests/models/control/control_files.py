"""Files of control models that fit the small checkpoints of tests."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from modules.models.ldm.keys import UNET_PREFIX
from tests.models.model_files import CONFIGS, write_safetensors

DEMO = CONFIGS.parent / "models" / "Stable-diffusion" / "demo" / "demo.safetensors"
HINT_WIDTHS = (8, 8, 16, 16, 16, 16, 32)


def write_tiny_controlnet(path: Path) -> Path:
    """Write a ControlNet, known by its header alone, for texts of a width of 4."""
    prefix = "control_model."
    shapes = {
        "input_hint_block.0.weight": [16, 3, 3, 3],
        "input_blocks.0.0.weight": [4, 4, 1, 1],
        "middle_block.1.transformer_blocks.0.attn2.to_k.weight": [4, 4],
        "zero_convs.0.0.weight": [4, 4, 1, 1],
    }
    return write_safetensors(path, {prefix + name: shape for name, shape in shapes.items()})


def write_tiny_ip_adapter(adapters: Path, encoders: Path) -> None:
    """Write tiny_ip, an IP-Adapter known by its header alone, for texts of a width of 4, and its image encoder."""
    layers = {f"ip_adapter.1.to_{kind}_ip.weight": [4, 4] for kind in "kv"}
    shapes = {"image_proj.proj.weight": [16, _EMBEDDING], **layers}
    for path, its in (
        (adapters / "tiny_ip.safetensors", shapes),
        (encoders / "vision.safetensors", {name: list(shape) for name, shape in _VISION.items()}),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_safetensors(path, its)


def write_demo_controlnet(path: Path, strength: float = 0.3) -> Path:
    """Write a ControlNet for the demo model: the encoder half of its UNet, and random outputs."""
    weights = load_file(DEMO)
    random = np.random.default_rng(1)
    unet = {name.removeprefix(UNET_PREFIX): value for name, value in weights.items()}
    encoder = ("input_blocks.", "middle_block.", "time_embed.")
    control = {name: value for name, value in unet.items() if name.startswith(encoder)}

    def add(name: str, outputs: int, inputs: int, side: int, scale: float) -> None:
        shape = (outputs, inputs, side, side)
        control[f"{name}.weight"] = (scale * random.standard_normal(shape)).astype(np.float16)
        control[f"{name}.bias"] = np.zeros(outputs, np.float16)

    width = unet["input_blocks.0.0.weight"].shape[0]
    sides = (3, *HINT_WIDTHS, width)
    for number, (inputs, outputs) in enumerate(pairwise(sides)):
        add(f"input_hint_block.{2 * number}", outputs, inputs, 3, (9 * inputs) ** -0.5)
    number = 0
    while outputs := _outputs_of(unet, f"input_blocks.{number}.0"):
        add(f"zero_convs.{number}.0", outputs, outputs, 1, strength * outputs**-0.5)
        number += 1
    outputs = _outputs_of(unet, "middle_block.0")
    add("middle_block_out.0", outputs, outputs, 1, strength * outputs**-0.5)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({f"control_model.{name}": value for name, value in control.items()}, path)
    return path


def write_demo_ip_adapter(adapter: Path, encoder: Path) -> None:
    """Write an IP-Adapter for the demo model, and the image encoder that it reads, both with random weights."""
    shapes = {
        name.removeprefix(UNET_PREFIX): value.shape
        for name, value in load_file(DEMO).items()
        if name.endswith("attn2.to_k.weight")
    }
    # Their order in the file: down, up, middle.
    order = sorted(shapes, key=lambda name: ("iom".index(name[0]), name))
    context, tokens = shapes[order[0]][1], 4
    weights: dict[str, tuple[int, ...]] = {
        "image_proj.proj.weight": (tokens * context, _EMBEDDING),
        "image_proj.proj.bias": (tokens * context,),
        "image_proj.norm.weight": (context,),
        "image_proj.norm.bias": (context,),
    }
    for number, name in enumerate(order):
        for kind in "kv":
            weights[f"ip_adapter.{2 * number + 1}.to_{kind}_ip.weight"] = shapes[name]
    _save_random(weights, adapter)
    _save_random(_VISION, encoder)


_EMBEDDING, _WIDTH, _MLP = 24, 64, 96
_BLOCK = "vision_model.encoder.layers.0."
_VISION: dict[str, tuple[int, ...]] = {
    "vision_model.embeddings.class_embedding": (_WIDTH,),
    "vision_model.embeddings.patch_embedding.weight": (_WIDTH, 3, 7, 7),
    "vision_model.embeddings.position_embedding.weight": (17, _WIDTH),
    **{
        f"{norm}.{part}": (_WIDTH,)
        for norm in (
            *("vision_model.pre_layrnorm", "vision_model.post_layernorm"),
            *(f"{_BLOCK}layer_norm1", f"{_BLOCK}layer_norm2"),
        )
        for part in ("weight", "bias")
    },
    **{
        f"{_BLOCK}self_attn.{part}_proj.{kind}": shape
        for part in ("q", "k", "v", "out")
        for kind, shape in (("weight", (_WIDTH, _WIDTH)), ("bias", (_WIDTH,)))
    },
    f"{_BLOCK}mlp.fc1.weight": (_MLP, _WIDTH),
    f"{_BLOCK}mlp.fc1.bias": (_MLP,),
    f"{_BLOCK}mlp.fc2.weight": (_WIDTH, _MLP),
    f"{_BLOCK}mlp.fc2.bias": (_WIDTH,),
    "visual_projection.weight": (_EMBEDDING, _WIDTH),
}


def _save_random(shapes: Mapping[str, tuple[int, ...]], path: Path) -> None:
    random = np.random.default_rng(2)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(
        {name: random.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()},
        path,
    )


def _outputs_of(unet: Mapping[str, NDArray[Any]], block: str) -> int:
    """Return how many channels a block has at its end, 0 for one that is not there."""
    names = (f"{block}.out_layers.3.weight", f"{block}.op.weight", f"{block}.weight")
    return next((unet[name].shape[0] for name in names if name in unet), 0)
