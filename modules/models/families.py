"""FAMILIES: how each kind of model file is recognised by its tensors, and what becomes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from modules.core.registry import Registry
from modules.models.files.header import Header, TensorInfo
from modules.models.ldm.names import (
    CLIP_TOKEN_EMBEDDING_KEY,
    OPEN_CLIP_PREFIX,
    OPEN_CLIP_TOKEN_EMBEDDING_KEY,
    UNET_CONTEXT_KEY,
    UNET_INPUT_KEY,
    UNET_PREFIX,
    UNET_PROJ_IN_KEY,
    VAE_DECODER_INPUT_KEY,
    find_key,
)


@dataclass(frozen=True)
class KeyCondition:
    """What must hold of a file's tensor names and shapes; all of it.

    Args:
        has: Names that must exist; a "*" at the end or the start stands for any text.
        lacks: Names that must not exist; likewise.
        sizes: Name and axis to the size that axis must have.
        ndims: Name to the number of axes: a linear layer has 2, a convolution 4.
    """

    has: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()
    sizes: Mapping[tuple[str, int], int] = field(default_factory=dict[tuple[str, int], int])
    ndims: Mapping[str, int] = field(default_factory=dict[str, int])

    def matches(self, tensors: Mapping[str, TensorInfo]) -> bool:
        """Return whether the tensors meet the condition."""
        return (
            all(_size_of(tensors, name, axis) == size for (name, axis), size in self.sizes.items())
            and all(len(_shape_of(tensors, name)) == count for name, count in self.ndims.items())
            and all(_exists(tensors, name) for name in self.has)
            and not any(_exists(tensors, name) for name in self.lacks)
        )


@dataclass(frozen=True)
class Family:
    """One architecture line, or one kind of file that does not belong among the checkpoints.

    Args:
        name: Identity, as the page shows it.
        conditions: The file is of the family when one of these holds.
        error: Why such a file cannot be used here, as the rest of a sentence that begins with its name;
            empty for a family that runs.
        config_file: The file in configs/ that describes a checkpoint without a .yaml of its own.
        component_keys: Component to a tensor that shows the file to carry it, for a family that runs.
        native_size: Width and height in pixels the models were trained for.
        v_prediction_native_size: Likewise for those that predict v, where these are larger.
        prediction_unknown: Whether the tensors leave open what the UNet predicts, the noise or v.
        extra_input: What the UNet sees beside the latents: nothing, a picture, a masked one, or depth.
    """

    name: str
    conditions: tuple[KeyCondition, ...]
    error: str = ""
    config_file: str = ""
    component_keys: Mapping[str, str] = field(default_factory=dict[str, str])
    native_size: int = 512
    prediction_unknown: bool = False
    v_prediction_native_size: int = 0
    extra_input: Literal["", "ip2p", "inpaint", "depth"] = ""
    aliases: tuple[str, ...] = ()


def make_family_registry() -> Registry[Family]:
    """Return a new table of all known families; the first that fits a file is its family."""
    return Registry("model family", FAMILIES)


def detect_family(header: Header, table: Registry[Family]) -> Family | None:
    """Return the family of a file, or None when no row fits."""
    return next((f for f in table if any(c.matches(header.tensors) for c in f.conditions)), None)


def find_error(header: Header, family: Family | None) -> str:
    """Return why a file of that family cannot be used, as the rest of a sentence, or ""."""
    if family is None:
        return "holds tensors, but no model of a known kind."
    missing = [
        part for part, name in family.component_keys.items() if not find_key(header.tensors, name)
    ]
    if missing:
        return (
            f"lacks its {' and '.join(missing)}. Get the full checkpoint, with everything baked in."
        )
    return family.error


def _exists(tensors: Mapping[str, TensorInfo], name: str) -> bool:
    if name.endswith("*"):
        return any(key.startswith(name[:-1]) for key in tensors)
    if name.startswith("*"):
        return any(key.endswith(name[1:]) for key in tensors)
    return find_key(tensors, name) is not None


def _size_of(tensors: Mapping[str, TensorInfo], name: str, axis: int) -> int | None:
    shape = _shape_of(tensors, name)
    return shape[axis] if axis < len(shape) else None


def _shape_of(tensors: Mapping[str, TensorInfo], name: str) -> tuple[int, ...]:
    actual = find_key(tensors, name)
    return tensors[actual].shape if actual else ()


NOT_YET = "This version runs SD 1.x and 2.x."
# VAE and text encoder can come from files of their own, so their absence is no fault.
PARTS = {"UNet": UNET_INPUT_KEY}
# Of SD 2.x; told by it is a checkpoint without its text encoder.
LINEAR = {UNET_PROJ_IN_KEY: 2}
FAMILIES = (
    Family(
        "ControlNet",
        (
            KeyCondition(has=("control_model.*",)),
            KeyCondition(has=("controlnet_cond_embedding.*",)),
            KeyCondition(has=("input_hint_block.*",)),
        ),
        error="is a ControlNet, not a checkpoint. This version has no use for it.",
    ),
    Family(
        "LoRA",
        (
            KeyCondition(has=("*.lora_down.weight",)),
            KeyCondition(has=("*.lora_A.weight",)),
            KeyCondition(has=("*.hada_w1_a",)),
            KeyCondition(has=("lora_*",)),
            KeyCondition(has=("*.lokr_w1",)),
        ),
        error="is a LoRA, not a checkpoint. It belongs in models/Lora.",
    ),
    Family(
        "Embedding",
        (
            KeyCondition(has=("emb_params",)),
            KeyCondition(has=("string_to_param.*",)),
            KeyCondition(has=("clip_l", "clip_g")),
        ),
        error="is a textual-inversion embedding, not a checkpoint. It belongs in embeddings.",
    ),
    Family(
        "SDXL",
        (
            KeyCondition(has=("conditioner.embedders.1.*", UNET_INPUT_KEY)),
            KeyCondition(sizes={(UNET_CONTEXT_KEY, 1): 2048}),
        ),
        error=f"is an SDXL checkpoint. {NOT_YET}",
        native_size=1024,
    ),
    Family(
        "SDXL refiner",
        (
            KeyCondition(
                has=(UNET_PREFIX + "label_emb.0.0.weight",), sizes={(UNET_CONTEXT_KEY, 1): 1280}
            ),
        ),
        error=f"is an SDXL refiner. {NOT_YET}",
        native_size=1024,
    ),
    Family(
        "SD 3",
        (
            KeyCondition(has=(UNET_PREFIX + "joint_blocks.0.x_block.attn.qkv.weight",)),
            KeyCondition(has=("joint_blocks.0.x_block.attn.qkv.weight",)),
        ),
        error=f"is an SD 3 checkpoint. {NOT_YET}",
        native_size=1024,
    ),
    Family(
        "Flux",
        (
            KeyCondition(has=(UNET_PREFIX + "double_blocks.0.img_attn.qkv.weight",)),
            KeyCondition(has=("double_blocks.0.img_attn.qkv.weight",)),
        ),
        error=f"is a Flux checkpoint. {NOT_YET}",
        native_size=1024,
    ),
    Family(
        "SD 2.x depth",
        (KeyCondition(sizes={(UNET_INPUT_KEY, 1): 5}),),
        config_file="v2-midas-inference.yaml",
        component_keys=PARTS,
        extra_input="depth",
    ),
    Family(
        "SD 2.x inpainting",
        (
            KeyCondition(has=(OPEN_CLIP_PREFIX + "*",), sizes={(UNET_INPUT_KEY, 1): 9}),
            KeyCondition(sizes={(UNET_INPUT_KEY, 1): 9, (UNET_CONTEXT_KEY, 1): 1024}),
            KeyCondition(
                lacks=(CLIP_TOKEN_EMBEDDING_KEY,), sizes={(UNET_INPUT_KEY, 1): 9}, ndims=LINEAR
            ),
        ),
        config_file="v2-inpainting-inference.yaml",
        component_keys=PARTS,
        extra_input="inpaint",
    ),
    Family(
        "SD 1.x inpainting",
        (KeyCondition(has=(UNET_CONTEXT_KEY,), sizes={(UNET_INPUT_KEY, 1): 9}),),
        config_file="v1-inpainting-inference.yaml",
        component_keys=PARTS,
        extra_input="inpaint",
    ),
    Family(
        "InstructPix2Pix",
        (KeyCondition(has=(UNET_CONTEXT_KEY,), sizes={(UNET_INPUT_KEY, 1): 8}),),
        config_file="instruct-pix2pix.yaml",
        component_keys=PARTS,
        extra_input="ip2p",
    ),
    Family(
        "SD 2.x",
        (
            KeyCondition(has=(OPEN_CLIP_PREFIX + "*",), sizes={(UNET_INPUT_KEY, 1): 4}),
            KeyCondition(sizes={(UNET_CONTEXT_KEY, 1): 1024}),
            KeyCondition(
                lacks=(CLIP_TOKEN_EMBEDDING_KEY,), sizes={(UNET_INPUT_KEY, 1): 4}, ndims=LINEAR
            ),
        ),
        config_file="v2-inference.yaml",
        component_keys=PARTS,
        prediction_unknown=True,
        v_prediction_native_size=768,
    ),
    Family(
        "SD 1.x",
        (KeyCondition(has=(UNET_CONTEXT_KEY,), sizes={(UNET_INPUT_KEY, 1): 4}),),
        config_file="v1-inference.yaml",
        component_keys=PARTS,
    ),
    Family(
        "VAE",
        (
            KeyCondition(has=("encoder.conv_in.weight", "decoder.conv_in.weight")),
            KeyCondition(has=(VAE_DECODER_INPUT_KEY,), lacks=(UNET_PREFIX + "*",)),
        ),
        error="is a VAE, not a checkpoint. It belongs in models/VAE.",
    ),
    Family(
        "Upscaler",
        (
            KeyCondition(has=("model.0.weight", "model.1.sub.*")),
            KeyCondition(has=("conv_first.weight",)),
        ),
        error="is an upscaler, not a checkpoint. It belongs in models/ESRGAN.",
    ),
    Family(
        "Text encoder",
        (
            KeyCondition(has=(CLIP_TOKEN_EMBEDDING_KEY,), lacks=(UNET_PREFIX + "*",)),
            KeyCondition(has=(OPEN_CLIP_TOKEN_EMBEDDING_KEY,), lacks=(UNET_PREFIX + "*",)),
            KeyCondition(has=("encoder.block.0.layer.0.SelfAttention.q.weight",)),
        ),
        error="is a text encoder alone, not a checkpoint. It belongs in models/text_encoder.",
    ),
    Family(
        "Diffusers UNet",
        (KeyCondition(has=("conv_in.weight", "down_blocks.0.resnets.0.conv1.weight")),),
        error="is a UNet alone in the layout of diffusers. Get the checkpoint as a single file.",
    ),
)
