"""FAMILIES: how each kind of model file is recognised by its tensors, and what becomes of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from modules.core.registry import Registry
from modules.models.header import Header, TensorInfo
from modules.models.ldm_names import (
    OPEN_CLIP,
    OPEN_CLIP_VOCABULARY,
    UNET,
    UNET_CONTEXT,
    UNET_INPUT,
    UNET_PROJECTION,
    VAE_OUTPUT,
    VOCABULARY,
    actual_name,
)


@dataclass(frozen=True)
class KeyCondition:
    """What must hold of a file's tensor names and shapes; all of it.

    Args:
        has: Names that must exist; a "*" at the end or the start stands for any text.
        lacks: Names that must not exist; likewise.
        sizes: Name and axis to the size that axis must have.
        axes: Name to the number of axes: a linear layer has 2, a convolution 4.
    """

    has: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()
    sizes: Mapping[tuple[str, int], int] = field(default_factory=dict[tuple[str, int], int])
    axes: Mapping[str, int] = field(default_factory=dict[str, int])

    def holds(self, tensors: Mapping[str, TensorInfo]) -> bool:
        """Return whether the tensors meet the condition."""
        return (
            all(_size_of(tensors, name, axis) == size for (name, axis), size in self.sizes.items())
            and all(len(_shape_of(tensors, name)) == count for name, count in self.axes.items())
            and all(_exists(tensors, name) for name in self.has)
            and not any(_exists(tensors, name) for name in self.lacks)
        )


@dataclass(frozen=True)
class Family:
    """One architecture line, or one kind of file that does not belong among the checkpoints.

    Args:
        name: Identity, as the page shows it.
        detect: The file is of the family when one of these holds.
        fault: Why such a file cannot be used here, as the rest of a sentence that begins with its name;
            empty for a family that runs.
        config: The file in configs/ that describes a checkpoint without a .yaml of its own.
        parts: Component to a tensor that shows the file to carry it, for a family that runs.
        native_size: Width and height in pixels the models were trained for.
        v_native_size: Likewise for those that predict v, where these are larger.
        undecided: Whether the tensors leave open what the UNet predicts, the noise or v.
        extra_input: What the UNet sees beside the latents: nothing, a picture, a masked one, or depth.
    """

    name: str
    detect: tuple[KeyCondition, ...]
    fault: str = ""
    config: str = ""
    parts: Mapping[str, str] = field(default_factory=dict[str, str])
    native_size: int = 512
    undecided: bool = False
    v_native_size: int = 0
    extra_input: Literal["", "picture", "masked picture", "depth"] = ""
    aliases: tuple[str, ...] = ()


def families() -> Registry[Family]:
    """Return a new table of all known families; the first that fits a file is its family."""
    return Registry("model family", FAMILIES)


def detect(header: Header, table: Registry[Family]) -> Family | None:
    """Return the family of a file, or None when no row fits."""
    return next((f for f in table if any(c.holds(header.tensors) for c in f.detect)), None)


def fault_of(header: Header, family: Family | None) -> str:
    """Return why a file of that family cannot be used, as the rest of a sentence, or ""."""
    if family is None:
        return "holds tensors, but no model of a known kind."
    missing = [part for part, name in family.parts.items() if not actual_name(header.tensors, name)]
    if missing:
        return (
            f"lacks its {' and '.join(missing)}. Get the full checkpoint, with everything baked in."
        )
    return family.fault


def _exists(tensors: Mapping[str, TensorInfo], name: str) -> bool:
    if name.endswith("*"):
        return any(key.startswith(name[:-1]) for key in tensors)
    if name.startswith("*"):
        return any(key.endswith(name[1:]) for key in tensors)
    return actual_name(tensors, name) is not None


def _size_of(tensors: Mapping[str, TensorInfo], name: str, axis: int) -> int | None:
    shape = _shape_of(tensors, name)
    return shape[axis] if axis < len(shape) else None


def _shape_of(tensors: Mapping[str, TensorInfo], name: str) -> tuple[int, ...]:
    actual = actual_name(tensors, name)
    return tensors[actual].shape if actual else ()


NOT_YET = "This version runs SD 1.x and 2.x."
# VAE and text encoder can come from files of their own, so their absence is no fault.
PARTS = {"UNet": UNET_INPUT}
# Of SD 2.x; told by it is a checkpoint without its text encoder.
LINEAR = {UNET_PROJECTION: 2}
FAMILIES = (
    Family(
        "ControlNet",
        (
            KeyCondition(has=("control_model.*",)),
            KeyCondition(has=("controlnet_cond_embedding.*",)),
            KeyCondition(has=("input_hint_block.*",)),
        ),
        fault="is a ControlNet, not a checkpoint. This version has no use for it.",
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
        fault="is a LoRA, not a checkpoint. It belongs in models/Lora.",
    ),
    Family(
        "Embedding",
        (
            KeyCondition(has=("emb_params",)),
            KeyCondition(has=("string_to_param.*",)),
            KeyCondition(has=("clip_l", "clip_g")),
        ),
        fault="is a textual-inversion embedding, not a checkpoint. It belongs in embeddings.",
    ),
    Family(
        "SDXL",
        (
            KeyCondition(has=("conditioner.embedders.1.*", UNET_INPUT)),
            KeyCondition(sizes={(UNET_CONTEXT, 1): 2048}),
        ),
        fault=f"is an SDXL checkpoint. {NOT_YET}",
        native_size=1024,
    ),
    Family(
        "SDXL refiner",
        (KeyCondition(has=(UNET + "label_emb.0.0.weight",), sizes={(UNET_CONTEXT, 1): 1280}),),
        fault=f"is an SDXL refiner. {NOT_YET}",
        native_size=1024,
    ),
    Family(
        "SD 3",
        (
            KeyCondition(has=(UNET + "joint_blocks.0.x_block.attn.qkv.weight",)),
            KeyCondition(has=("joint_blocks.0.x_block.attn.qkv.weight",)),
        ),
        fault=f"is an SD 3 checkpoint. {NOT_YET}",
        native_size=1024,
    ),
    Family(
        "Flux",
        (
            KeyCondition(has=(UNET + "double_blocks.0.img_attn.qkv.weight",)),
            KeyCondition(has=("double_blocks.0.img_attn.qkv.weight",)),
        ),
        fault=f"is a Flux checkpoint. {NOT_YET}",
        native_size=1024,
    ),
    Family(
        "SD 2.x depth",
        (KeyCondition(sizes={(UNET_INPUT, 1): 5}),),
        config="v2-midas-inference.yaml",
        parts=PARTS,
        extra_input="depth",
    ),
    Family(
        "SD 2.x inpainting",
        (
            KeyCondition(has=(OPEN_CLIP + "*",), sizes={(UNET_INPUT, 1): 9}),
            KeyCondition(sizes={(UNET_INPUT, 1): 9, (UNET_CONTEXT, 1): 1024}),
            KeyCondition(lacks=(VOCABULARY,), sizes={(UNET_INPUT, 1): 9}, axes=LINEAR),
        ),
        config="v2-inpainting-inference.yaml",
        parts=PARTS,
        extra_input="masked picture",
    ),
    Family(
        "SD 1.x inpainting",
        (KeyCondition(has=(UNET_CONTEXT,), sizes={(UNET_INPUT, 1): 9}),),
        config="v1-inpainting-inference.yaml",
        parts=PARTS,
        extra_input="masked picture",
    ),
    Family(
        "InstructPix2Pix",
        (KeyCondition(has=(UNET_CONTEXT,), sizes={(UNET_INPUT, 1): 8}),),
        config="instruct-pix2pix.yaml",
        parts=PARTS,
        extra_input="picture",
    ),
    Family(
        "SD 2.x",
        (
            KeyCondition(has=(OPEN_CLIP + "*",), sizes={(UNET_INPUT, 1): 4}),
            KeyCondition(sizes={(UNET_CONTEXT, 1): 1024}),
            KeyCondition(lacks=(VOCABULARY,), sizes={(UNET_INPUT, 1): 4}, axes=LINEAR),
        ),
        config="v2-inference.yaml",
        parts=PARTS,
        undecided=True,
        v_native_size=768,
    ),
    Family(
        "SD 1.x",
        (KeyCondition(has=(UNET_CONTEXT,), sizes={(UNET_INPUT, 1): 4}),),
        config="v1-inference.yaml",
        parts=PARTS,
    ),
    Family(
        "VAE",
        (
            KeyCondition(has=("encoder.conv_in.weight", "decoder.conv_in.weight")),
            KeyCondition(has=(VAE_OUTPUT,), lacks=(UNET + "*",)),
        ),
        fault="is a VAE, not a checkpoint. It belongs in models/VAE.",
    ),
    Family(
        "Upscaler",
        (
            KeyCondition(has=("model.0.weight", "model.1.sub.*")),
            KeyCondition(has=("conv_first.weight",)),
        ),
        fault="is an upscaler, not a checkpoint. It belongs in models/ESRGAN.",
    ),
    Family(
        "Text encoder",
        (
            KeyCondition(has=(VOCABULARY,), lacks=(UNET + "*",)),
            KeyCondition(has=(OPEN_CLIP_VOCABULARY,), lacks=(UNET + "*",)),
            KeyCondition(has=("encoder.block.0.layer.0.SelfAttention.q.weight",)),
        ),
        fault="is a text encoder alone, not a checkpoint. It belongs in models/text_encoder.",
    ),
    Family(
        "Diffusers UNet",
        (KeyCondition(has=("conv_in.weight", "down_blocks.0.resnets.0.conv1.weight")),),
        fault="is a UNet alone in the layout of diffusers. Get the checkpoint as a single file.",
    ),
)
