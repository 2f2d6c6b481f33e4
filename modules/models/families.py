"""FAMILIES: how each kind of model file is detected by its tensors, and whether it can be used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from modules.core.registry import Registry
from modules.models.files.header import Header, TensorInfo
from modules.models.ldm.keys import (
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
    """A condition on a file's tensor names and shapes; every part of it must hold.

    Args:
        has: Names that must exist; a "*" at the end or the start matches any text.
        lacks: Names that must not exist, with the same wildcard.
        sizes: (Name, axis) to the required size of that axis.
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
    """One architecture line, or one kind of file that is not a checkpoint.

    Args:
        name: Identity, as the page shows it.
        conditions: A file is of the family when any of these matches.
        error: Why such a file cannot be used, as the rest of a sentence that begins with its name;
            empty for a supported family.
        config_file: The file in configs/ that describes a checkpoint without its own .yaml.
        component_keys: For a supported family: component to a tensor whose presence means the file contains it.
        native_size: Width and height in pixels the models were trained for.
        prediction_unknown: Whether the tensors do not determine what the UNet predicts, epsilon or v.
        v_prediction_native_size: Native size of models that predict v, if larger.
        extra_input: What is concatenated to the latents: nothing, the init image's latents (InstructPix2Pix),
            mask and masked latents, or depth.
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
    """Return a new registry of all known families; the first that matches a file is its family."""
    return Registry("model family", FAMILIES)


def detect_family(header: Header, table: Registry[Family]) -> Family | None:
    """Return the family of a file, or None when no row matches."""
    return next((f for f in table if any(c.matches(header.tensors) for c in f.conditions)), None)


def find_error(header: Header, family: Family | None) -> str:
    """Return why a file of that family cannot be used, as the rest of a sentence, or ""."""
    if family is None:
        return "contains tensors, but no model of a known type."
    missing = [
        component
        for component, key in family.component_keys.items()
        if not find_key(header.tensors, key)
    ]
    if missing:
        return f"lacks its {' and '.join(missing)}. Get the full checkpoint, with all components."
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


UNSUPPORTED = "This version supports SD 1.x and 2.x."
# VAE and text encoder can come from separate files, so their absence is no error.
REQUIRED_COMPONENTS = {"UNet": UNET_INPUT_KEY}
# Linear projections, used by SD 2.x alone; they identify a checkpoint without its text encoder.
SD2_NDIMS = {UNET_PROJ_IN_KEY: 2}
FAMILIES = (
    Family(
        "ControlNet",
        (
            KeyCondition(has=("control_model.*",)),
            KeyCondition(has=("controlnet_cond_embedding.*",)),
            KeyCondition(has=("input_hint_block.*",)),
        ),
        error="is a ControlNet, not a checkpoint. ControlNet is not supported in this version.",
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
        error=f"is an SDXL checkpoint. {UNSUPPORTED}",
        native_size=1024,
    ),
    Family(
        "SDXL refiner",
        (
            KeyCondition(
                has=(UNET_PREFIX + "label_emb.0.0.weight",), sizes={(UNET_CONTEXT_KEY, 1): 1280}
            ),
        ),
        error=f"is an SDXL refiner. {UNSUPPORTED}",
        native_size=1024,
    ),
    Family(
        "SD 3",
        (
            KeyCondition(has=(UNET_PREFIX + "joint_blocks.0.x_block.attn.qkv.weight",)),
            KeyCondition(has=("joint_blocks.0.x_block.attn.qkv.weight",)),
        ),
        error=f"is an SD 3 checkpoint. {UNSUPPORTED}",
        native_size=1024,
    ),
    Family(
        "Flux",
        (
            KeyCondition(has=(UNET_PREFIX + "double_blocks.0.img_attn.qkv.weight",)),
            KeyCondition(has=("double_blocks.0.img_attn.qkv.weight",)),
        ),
        error=f"is a Flux checkpoint. {UNSUPPORTED}",
        native_size=1024,
    ),
    Family(
        "SD 2.x depth",
        (KeyCondition(sizes={(UNET_INPUT_KEY, 1): 5}),),
        config_file="v2-midas-inference.yaml",
        component_keys=REQUIRED_COMPONENTS,
        extra_input="depth",
    ),
    Family(
        "SD 2.x inpainting",
        (
            KeyCondition(has=(OPEN_CLIP_PREFIX + "*",), sizes={(UNET_INPUT_KEY, 1): 9}),
            KeyCondition(sizes={(UNET_INPUT_KEY, 1): 9, (UNET_CONTEXT_KEY, 1): 1024}),
            KeyCondition(
                lacks=(CLIP_TOKEN_EMBEDDING_KEY,), sizes={(UNET_INPUT_KEY, 1): 9}, ndims=SD2_NDIMS
            ),
        ),
        config_file="v2-inpainting-inference.yaml",
        component_keys=REQUIRED_COMPONENTS,
        extra_input="inpaint",
    ),
    Family(
        "SD 1.x inpainting",
        (KeyCondition(has=(UNET_CONTEXT_KEY,), sizes={(UNET_INPUT_KEY, 1): 9}),),
        config_file="v1-inpainting-inference.yaml",
        component_keys=REQUIRED_COMPONENTS,
        extra_input="inpaint",
    ),
    Family(
        "InstructPix2Pix",
        (KeyCondition(has=(UNET_CONTEXT_KEY,), sizes={(UNET_INPUT_KEY, 1): 8}),),
        config_file="instruct-pix2pix.yaml",
        component_keys=REQUIRED_COMPONENTS,
        extra_input="ip2p",
    ),
    Family(
        "SD 2.x",
        (
            KeyCondition(has=(OPEN_CLIP_PREFIX + "*",), sizes={(UNET_INPUT_KEY, 1): 4}),
            KeyCondition(sizes={(UNET_CONTEXT_KEY, 1): 1024}),
            KeyCondition(
                lacks=(CLIP_TOKEN_EMBEDDING_KEY,), sizes={(UNET_INPUT_KEY, 1): 4}, ndims=SD2_NDIMS
            ),
        ),
        config_file="v2-inference.yaml",
        component_keys=REQUIRED_COMPONENTS,
        prediction_unknown=True,
        v_prediction_native_size=768,
    ),
    Family(
        "SD 1.x",
        (KeyCondition(has=(UNET_CONTEXT_KEY,), sizes={(UNET_INPUT_KEY, 1): 4}),),
        config_file="v1-inference.yaml",
        component_keys=REQUIRED_COMPONENTS,
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
        error="is only a text encoder, not a checkpoint. It belongs in models/text_encoder.",
    ),
    Family(
        "Diffusers UNet",
        (KeyCondition(has=("conv_in.weight", "down_blocks.0.resnets.0.conv1.weight")),),
        error="is only a UNet in diffusers format. Get the checkpoint as a single file.",
    ),
)
