"""FAMILIES: the architectures of checkpoints, how each is detected, and what it is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from modules.core.registry import Registry
from modules.models.files.header import Header
from modules.models.key_condition import KeyCondition, first_row
from modules.models.ldm.keys import (
    CLIP_TOKEN_EMBEDDING_KEY,
    OPEN_CLIP_PREFIX,
    UNET_CONTEXT_KEY,
    UNET_INPUT_KEY,
    UNET_LABEL_KEY,
    UNET_PREFIX,
    UNET_PROJ_IN_KEY,
    find_key,
)
from modules.models.ldm.text_encoder_layouts import (
    COND_STAGE_SLOT,
    SDXL_CLIP_G_SLOT,
    SDXL_CLIP_L_SLOT,
    SDXL_REFINER_SLOT,
    TextEncoderSlot,
)


@dataclass(frozen=True)
class LatentFormat:
    """The latents of one autoencoder: latents = (encoded - shift) * scale.

    Args:
        channels: Values of each cell.
        scale: Factor that gives the latents about unit variance.
        shift: Subtracted before scaling.
        pixels_per_cell: Width and height in pixels of what one cell decodes to.
    """

    channels: int = 4
    scale: float = 0.18215
    shift: float = 0.0
    pixels_per_cell: int = 8

    def cells(self, width: int, height: int) -> tuple[int, int]:
        """Return the rows and columns of the latents of an image; its size is given in pixels."""
        return height // self.pixels_per_cell, width // self.pixels_per_cell

    def shape(self, width: int, height: int) -> tuple[int, int, int]:
        """Return (channels, rows, columns) of the latents of an image."""
        return self.channels, *self.cells(width, height)


SD_LATENTS = LatentFormat()  # of SD 1.x and 2.x
MicroConditioning = Literal["", "target size", "aesthetic score"]


@dataclass(frozen=True)
class Family:
    """One architecture line of checkpoints.

    Args:
        name: Identity, as the page shows it.
        conditions: A file is of the family when any of these matches.
        error: Why such a file cannot be used, as the rest of a sentence that begins with its name;
            empty for a supported family.
        config_file: The file in configs/ that describes a checkpoint without its own .yaml.
        component_keys: For a supported family: component to a tensor whose presence means the file contains it.
        text_encoders: Where a checkpoint keeps its text encoders; the UNet attends to their joined hidden states.
        latent_format: Of its autoencoder; the .yaml of a checkpoint may deviate.
        native_size: Width and height in pixels the models were trained for.
        prediction_unknown: Whether the tensors do not determine what the UNet predicts, epsilon or v.
        v_prediction_native_size: Native size of models that predict v, if larger.
        extra_input: What is concatenated to the latents: nothing, the init image's latents (InstructPix2Pix),
            mask and masked latents, or depth.
        micro_conditioning: What the UNet gets after pooled text, original size and crop (Podell et al. 2023, section
            2.2); "" for a UNet that gets none of them.
        is_refiner: Whether the models only finish images that another model began.
        precedes: Names of families that a file is only of when it is not of this one; where no row names another,
            the first one in the table decides.
        networks_of: The family whose LoRA files and embeddings fit, if it is another one.
    """

    name: str
    conditions: tuple[KeyCondition, ...]
    error: str = ""
    config_file: str = ""
    component_keys: Mapping[str, str] = field(default_factory=dict[str, str])
    text_encoders: tuple[TextEncoderSlot, ...] = (COND_STAGE_SLOT,)
    latent_format: LatentFormat = SD_LATENTS
    native_size: int = 512
    prediction_unknown: bool = False
    v_prediction_native_size: int = 0
    extra_input: Literal["", "ip2p", "inpaint", "depth"] = ""
    micro_conditioning: MicroConditioning = ""
    is_refiner: bool = False
    precedes: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    networks_of: str = ""

    @property
    def is_sdxl(self) -> bool:
        """Return whether it is of SDXL's line, which was trained on sizes of about the same area, not of one shape."""
        return bool(self.micro_conditioning)

    def matches(self, header: Header) -> bool:
        """Return whether a file with this header can be of the family."""
        return any(condition.matches(header) for condition in self.conditions)

    @property
    def network_family(self) -> str:
        """Return the family whose LoRA files and embeddings fit, such as "SD 1.x" for its inpainting checkpoints."""
        return self.networks_of or self.name

    def find_error(self, header: Header) -> str:
        """Return why a file of the family cannot be used, as the rest of a sentence, or ""."""
        missing = [
            component
            for component, key in self.component_keys.items()
            if not find_key(header.tensors, key)
        ]
        if missing:
            return (
                f"lacks its {' and '.join(missing)}. Get the full checkpoint, with all components."
            )
        return self.error


def make_family_registry() -> Registry[Family]:
    """Return a new registry of all known families."""
    return Registry("model family", FAMILIES)


def detect_family(header: Header, families: Registry[Family]) -> Family | None:
    """Return the family of a checkpoint, or None when no row matches."""
    return first_row(family for family in families if family.matches(header))


UNSUPPORTED = "This version supports SD 1.x, SD 2.x and SDXL."
# VAE and text encoder can come from separate files, so their absence is no error.
REQUIRED_COMPONENTS = {"UNet": UNET_INPUT_KEY}
# Linear projections, used by SD 2.x alone; they identify a checkpoint without its text encoder.
SD2_NDIMS = {UNET_PROJ_IN_KEY: 2}
SDXL_LATENTS = LatentFormat(scale=0.13025)


def _sdxl_conditions(in_channels: int) -> tuple[KeyCondition, ...]:
    """Return the conditions of an SDXL checkpoint, with or without its text encoders, whose UNet has an extra input."""
    channels = {(UNET_INPUT_KEY, 1): in_channels}
    return (
        KeyCondition(has=(SDXL_CLIP_G_SLOT.prefix + "*",), sizes=channels),
        KeyCondition(sizes={(UNET_CONTEXT_KEY, 1): 2048, **channels}),
    )


FAMILIES = (
    Family(
        "SDXL EDM",  # CosXL, Playground 2.5
        tuple(
            KeyCondition(has=(key, UNET_INPUT_KEY)) for key in ("edm_mean", "edm_vpred.sigma_max")
        ),
        error="is an SDXL checkpoint with the continuous noise of EDM (CosXL, Playground 2.5), which this version"
        " does not run.",
        latent_format=SDXL_LATENTS,
        native_size=1024,
        precedes=("SDXL inpainting", "SDXL InstructPix2Pix", "SDXL"),
    ),
    Family(
        "SDXL inpainting",
        _sdxl_conditions(9),
        config_file="sd_xl_inpaint.yaml",
        component_keys=REQUIRED_COMPONENTS,
        text_encoders=(SDXL_CLIP_L_SLOT, SDXL_CLIP_G_SLOT),
        latent_format=SDXL_LATENTS,
        native_size=1024,
        extra_input="inpaint",
        micro_conditioning="target size",
        networks_of="SDXL",
    ),
    Family(
        "SDXL InstructPix2Pix",
        _sdxl_conditions(8),
        config_file="sd_xl_instruct-pix2pix.yaml",
        component_keys=REQUIRED_COMPONENTS,
        text_encoders=(SDXL_CLIP_L_SLOT, SDXL_CLIP_G_SLOT),
        latent_format=SDXL_LATENTS,
        native_size=1024,
        extra_input="ip2p",
        micro_conditioning="target size",
        networks_of="SDXL",
    ),
    Family(
        "SDXL",
        (
            KeyCondition(has=(SDXL_CLIP_G_SLOT.prefix + "*", UNET_INPUT_KEY)),
            KeyCondition(sizes={(UNET_CONTEXT_KEY, 1): 2048}),
        ),
        config_file="sd_xl_base.yaml",
        component_keys=REQUIRED_COMPONENTS,
        text_encoders=(SDXL_CLIP_L_SLOT, SDXL_CLIP_G_SLOT),
        latent_format=SDXL_LATENTS,
        native_size=1024,
        micro_conditioning="target size",
    ),
    Family(
        "SDXL refiner",
        (
            KeyCondition(has=(SDXL_REFINER_SLOT.prefix + "model.*", UNET_INPUT_KEY)),
            KeyCondition(has=(UNET_LABEL_KEY,), sizes={(UNET_CONTEXT_KEY, 1): 1280}),
        ),
        config_file="sd_xl_refiner.yaml",
        component_keys=REQUIRED_COMPONENTS,
        text_encoders=(SDXL_REFINER_SLOT,),
        latent_format=SDXL_LATENTS,
        native_size=1024,
        micro_conditioning="aesthetic score",
        is_refiner=True,
    ),
    Family(
        "SD 3",
        (
            KeyCondition(has=(UNET_PREFIX + "joint_blocks.0.x_block.attn.qkv.weight",)),
            KeyCondition(  # of diffusers
                has=("transformer_blocks.0.attn.add_k_proj.weight", "pos_embed.proj.weight")
            ),
        ),
        error=f"is an SD 3 checkpoint. {UNSUPPORTED}",
        latent_format=LatentFormat(channels=16, scale=1.5305, shift=0.0609),
        native_size=1024,
    ),
    Family(
        "Flux",
        (
            KeyCondition(has=(UNET_PREFIX + "double_blocks.0.img_attn.qkv.weight",)),
            KeyCondition(  # of diffusers
                has=("single_transformer_blocks.0.attn.to_q.weight", "x_embedder.weight")
            ),
        ),
        error=f"is a Flux checkpoint. {UNSUPPORTED}",
        latent_format=LatentFormat(channels=16, scale=0.3611, shift=0.1159),
        native_size=1024,
    ),
    Family(
        "Stable Video Diffusion",
        (
            KeyCondition(has=(UNET_PREFIX + "input_blocks.1.1.time_stack.0.norm1.weight",)),
            KeyCondition(  # of diffusers
                has=("down_blocks.0.resnets.0.temporal_res_block.conv1.weight", "conv_in.weight")
            ),
        ),
        error=f"is a Stable Video Diffusion checkpoint. {UNSUPPORTED}",
        native_size=1024,
    ),
    Family(
        "SD 2.x unCLIP",
        (KeyCondition(has=(UNET_LABEL_KEY,), sizes={(UNET_CONTEXT_KEY, 1): 1024}),),
        error="is an unCLIP checkpoint, which this version does not run.",
        native_size=768,
    ),
    Family(
        "SD 2.x upscaler",
        (KeyCondition(has=(UNET_CONTEXT_KEY,), sizes={(UNET_INPUT_KEY, 1): 7}),),
        error="is the x4 upscaler of SD 2.x, which this version does not run.",
    ),
    Family(
        "SD 2.x depth",
        (KeyCondition(sizes={(UNET_INPUT_KEY, 1): 5}),),
        config_file="v2-midas-inference.yaml",
        component_keys=REQUIRED_COMPONENTS,
        networks_of="SD 2.x",
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
        networks_of="SD 2.x",
        extra_input="inpaint",
    ),
    Family(
        "SD 1.x inpainting",
        (KeyCondition(has=(UNET_CONTEXT_KEY,), sizes={(UNET_INPUT_KEY, 1): 9}),),
        config_file="v1-inpainting-inference.yaml",
        component_keys=REQUIRED_COMPONENTS,
        networks_of="SD 1.x",
        extra_input="inpaint",
    ),
    Family(
        "InstructPix2Pix",
        (KeyCondition(has=(UNET_CONTEXT_KEY,), sizes={(UNET_INPUT_KEY, 1): 8}),),
        config_file="instruct-pix2pix.yaml",
        component_keys=REQUIRED_COMPONENTS,
        networks_of="SD 1.x",
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
)
