"""KINDS: the kinds of model files: the folders and suffixes of each, and how it is detected in any folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from modules.core.paths import Paths
from modules.core.registry import Registry
from modules.models.families import Family, detect_family
from modules.models.files.header import Header
from modules.models.key_condition import KeyCondition, first_row
from modules.models.ldm.keys import (
    CLIP_TOKEN_EMBEDDING_KEY,
    OPEN_CLIP_TOKEN_EMBEDDING_KEY,
    UNET_PREFIX,
    VAE_DECODER_INPUT_KEY,
)
from modules.models.upscaling.architectures import ARCHITECTURES

CHECKPOINT, VAE, TEXT_ENCODER = "Checkpoint", "VAE", "Text encoder"
CONTROLNET, CLIP_VISION = "ControlNet", "CLIP vision encoder"
EMBEDDING, HYPERNETWORK = "Embedding", "Hypernetwork"
UPSCALER = "Upscaler"
ANNOTATOR = "Annotator"
PREVIEW_DECODER = "Preview decoder"
FACE_RESTORER = "Face restorer"
_UNET_NAMES = (
    UNET_PREFIX + "*",
    "diffusion_model.*",
    "input_blocks.*",
)  # such a file has more than other networks
_HYPERNETWORK_WIDTHS = (320, 640, 768, 1024, 1280)
_TRAINERS_PREFIXES = ("", "params_ema.", "params.")  # of upscalers, as their trainer saves them
_UNSUPPORTED = "This version does not use such files."


@dataclass(frozen=True)
class ModelKind:
    """One kind of model file.

    Args:
        name: Identity, as messages show it.
        noun: The name inside of a sentence.
        folders: Returns the folders that are scanned for such files, in order of precedence.
        suffixes: Endings of such files, in lower case.
        conditions: A file is of the kind when any of these matches.
        misplaced: Why such a file is of no use elsewhere, as the rest of a sentence that begins with its name;
            {expected} is replaced by what was looked for, such as "a checkpoint".
        has_families: Whether a file is of the kind when it is of any family.
        suffixes_beside_checkpoints: Endings of such files in the folders of checkpoints; no other kind lists those.
        found_by_stem: Whether a name without its suffix finds a file.
        precedes: Names of kinds that a file is only of when it is not of this one; where no row names another,
            the first one in the table decides.
        listed_as: Name of another kind whose folders hold such files, too, and whose list shows them.
    """

    name: str
    noun: str
    folders: Callable[[Paths], tuple[Path, ...]] = field(repr=False)
    suffixes: tuple[str, ...]
    conditions: tuple[KeyCondition, ...] = ()
    misplaced: str = ""
    has_families: bool = False
    suffixes_beside_checkpoints: tuple[str, ...] = ()
    found_by_stem: bool = True
    precedes: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    listed_as: str = ""


class Detection(NamedTuple):
    """What a file contains.

    Args:
        kind: Its row of KINDS, None when no row matches.
        family: Its row of FAMILIES, for a checkpoint.
    """

    kind: ModelKind | None = None
    family: Family | None = None

    @property
    def name(self) -> str:
        """Return the name of the family, of the kind for all but checkpoints, or ""."""
        row = self.family or self.kind
        return row.name if row else ""


def make_kind_registry() -> Registry[ModelKind]:
    """Return a new registry of all known kinds."""
    return Registry("kind of model file", KINDS)


def detect(header: Header, kinds: Registry[ModelKind], families: Registry[Family]) -> Detection:
    """Return the kind of a file and, for a checkpoint, its family."""
    family = detect_family(header, families)
    matching = (
        kind
        for kind in kinds
        if (kind.has_families and family is not None)
        or any(condition.matches(header) for condition in kind.conditions)
    )
    kind = first_row(matching)
    return Detection(kind, family if kind is not None and kind.has_families else None)


def find_checkpoint_error(header: Header, detection: Detection) -> str:
    """Return why a file cannot be used as a checkpoint, as the rest of a sentence that begins with its name, or ""."""
    if detection.kind is None:
        return "contains tensors, but no model of a known type."
    if detection.family is None:
        return detection.kind.misplaced.format(expected="a checkpoint")
    return detection.family.find_error(header)


def _of_architectures() -> Iterator[KeyCondition]:
    """Yield the conditions of the upscalers' architectures, but Compact's: too many files have its names."""
    for row in ARCHITECTURES:
        if not row.belongs and row.name != "Compact":
            for prefix in _TRAINERS_PREFIXES:
                yield from (KeyCondition(has=tuple(prefix + k for k in keys)) for keys in row.keys)


# In the order of detection: a ControlNet or a LoRA may contain a whole checkpoint's names, a checkpoint those of a VAE.
KINDS: tuple[ModelKind, ...] = (
    ModelKind(
        CONTROLNET,
        "ControlNet",
        lambda paths: paths.control_folders,
        (".safetensors", ".pth", ".pt", ".ckpt", ".bin"),
        (
            KeyCondition(has=("control_model.*",)),
            KeyCondition(has=("controlnet_cond_embedding.*",)),
            KeyCondition(has=("input_hint_block.*",)),
            KeyCondition(has=("lllite_unet*",)),
        ),
        misplaced="is a ControlNet, not {expected}. It belongs in models/ControlNet.",
    ),
    ModelKind(
        "LoRA",
        "LoRA",
        lambda paths: paths.lora_folders,
        (".safetensors", ".pt", ".ckpt"),
        (
            KeyCondition(has=("*.lora_down.weight",)),
            KeyCondition(has=("*.lora_A.weight",)),
            KeyCondition(has=("*.hada_w1_a",)),
            KeyCondition(has=("lora_*",)),
            KeyCondition(has=("*.lokr_w1",)),
            KeyCondition(has=("*.lokr_w1_a",)),
            KeyCondition(has=("*lora.down.weight",)),  # "to_q_lora.down.weight" of early diffusers
            KeyCondition(has=("*.lora_linear_layer.down.weight",)),
            KeyCondition(has=("*.oft_blocks",)),
            KeyCondition(has=("lycoris_*",)),
            KeyCondition(has=("oft_unet_*",)),
            KeyCondition(has=("*.lora_A.default.weight",)),  # of PEFT
            KeyCondition(has=("bundle_emb.*",)),
        ),
        misplaced="is a LoRA, not {expected}. It belongs in models/Lora.",
    ),
    ModelKind(
        EMBEDDING,
        "embedding",
        lambda paths: (paths.embeddings,),
        (".safetensors", ".pt", ".bin"),
        (
            KeyCondition(has=("emb_params",)),
            KeyCondition(has=("string_to_param.*",)),
            KeyCondition(has=("clip_l", "clip_g")),
        ),
        misplaced="is a textual-inversion embedding, not {expected}. It belongs in embeddings.",
    ),
    ModelKind(
        CHECKPOINT,
        "checkpoint",
        lambda paths: paths.checkpoint_folders,
        (".safetensors", ".ckpt"),
        misplaced="is a checkpoint, not {expected}. It belongs in models/Stable-diffusion.",
        has_families=True,
    ),
    ModelKind(
        FACE_RESTORER,
        "face restorer",
        lambda paths: paths.model_folders("GFPGAN", "Codeformer", "facerestore_models"),
        (".pth", ".safetensors", ".pt"),
        tuple(
            KeyCondition(has=tuple(prefix + key for key in keys))
            for prefix in _TRAINERS_PREFIXES
            for keys in (
                ("toRGB.0.weight", "stylegan_decoder.style_mlp.1.weight"),
                ("quantize.embedding.weight", "encoder.down.0.block.0.norm1.weight"),
                ("quantize.embedding.weight", "position_emb"),
            )
        ),
        misplaced="restores faces and is not {expected}. It belongs in models/GFPGAN or models/Codeformer.",
    ),
    ModelKind(
        VAE,
        "VAE",
        lambda paths: paths.vae_folders,
        (".safetensors", ".pt", ".ckpt"),  # best first, likewise next to checkpoints
        (
            KeyCondition(has=("encoder.conv_in.weight", "decoder.conv_in.weight")),
            KeyCondition(has=(VAE_DECODER_INPUT_KEY,), lacks=_UNET_NAMES),
        ),
        misplaced="is a VAE, not {expected}. It belongs in models/VAE.",
        suffixes_beside_checkpoints=(".vae.safetensors", ".vae.pt", ".vae.ckpt"),  # A1111's names
        found_by_stem=False,
    ),
    ModelKind(
        UPSCALER,
        "upscaler",
        lambda paths: paths.upscaler_folders,
        (".safetensors", ".pth", ".pt", ".ckpt"),
        (
            KeyCondition(has=("model.0.weight", "model.1.sub.*")),
            *(
                condition
                for prefix in _TRAINERS_PREFIXES
                for condition in (
                    KeyCondition(has=(prefix + "conv_first.weight",)),
                    KeyCondition(  # the compact network
                        has=tuple(f"{prefix}body.{number}.weight" for number in range(3))
                    ),
                )
            ),
            *_of_architectures(),
        ),
        misplaced="is an upscaler, not {expected}. It belongs in models/ESRGAN.",
    ),
    ModelKind(
        TEXT_ENCODER,
        "text encoder",
        lambda paths: paths.text_encoder_folders,
        (".safetensors", ".bin", ".pt", ".ckpt"),
        (
            KeyCondition(has=(CLIP_TOKEN_EMBEDDING_KEY,), lacks=_UNET_NAMES),
            KeyCondition(has=(OPEN_CLIP_TOKEN_EMBEDDING_KEY,), lacks=_UNET_NAMES),
            KeyCondition(has=("encoder.block.0.layer.0.SelfAttention.q.weight",)),
        ),
        misplaced="is only a text encoder, not {expected}. It belongs in models/text_encoder.",
    ),
    ModelKind(
        HYPERNETWORK,
        "hypernetwork",
        lambda paths: (paths.hypernetworks,),
        (".pt",),
        tuple(KeyCondition(has=(f"{width}.0.*",)) for width in _HYPERNETWORK_WIDTHS),
        misplaced="is a hypernetwork, not {expected}. It belongs in models/hypernetworks.",
    ),
    ModelKind(
        ANNOTATOR,
        "annotator",
        lambda paths: paths.model_folders("ControlNet/annotators", "ControlNetPreprocessor"),
        (".pth", ".pt", ".safetensors", ".tflite", ".onnx"),
        # No conditions: an annotator is found by its file's name (`models/annotators`).
    ),
    ModelKind(
        "Diffusers UNet",
        "UNet",
        lambda _: (),
        (),
        (KeyCondition(has=("conv_in.weight", "down_blocks.0.resnets.0.conv1.weight")),),
        misplaced="is only a UNet in diffusers format. Get the checkpoint as a single file.",
    ),
    ModelKind(
        "IP-Adapter",
        "IP-Adapter",
        lambda _: (),
        (),
        (
            KeyCondition(has=("ip_adapter.*",)),
            KeyCondition(has=("*.to_k_ip.weight",)),
        ),
        misplaced="is an IP-Adapter, not {expected}. It belongs in models/ControlNet.",
        listed_as=CONTROLNET,
    ),
    ModelKind(
        "T2I-Adapter",
        "T2I-Adapter",
        lambda _: (),
        (),
        (
            KeyCondition(has=("body.0.block1.weight",)),
            KeyCondition(has=("body.0.in_conv.weight",)),
            KeyCondition(has=("adapter.body.0.*",)),
        ),
        misplaced="is a T2I-Adapter, not {expected}. It belongs in models/ControlNet.",
        listed_as=CONTROLNET,
    ),
    ModelKind(
        "AnimateDiff motion module",
        "motion module",
        lambda _: (),
        (),
        (
            KeyCondition(has=("*.motion_modules.0.temporal_transformer.norm.weight",)),
            KeyCondition(has=("*.motion_modules.0.transformer_blocks.0.attn1.to_q.weight",)),
        ),
        misplaced=f"is a motion module of AnimateDiff, not {{expected}}. {_UNSUPPORTED}",
    ),
    ModelKind(
        PREVIEW_DECODER,
        "preview decoder",
        lambda paths: paths.preview_decoder_folders,
        (".safetensors", ".pth", ".pt"),
        (
            KeyCondition(has=tuple(f"conv{number}.weight" for number in range(1, 9))),
            KeyCondition(has=("1.weight", "3.conv.0.weight")),
            KeyCondition(has=("0.weight", "1.conv.0.weight")),
            KeyCondition(has=("taesd_decoder.*",)),
            KeyCondition(has=("taesd_encoder.*",)),
            KeyCondition(has=("decoder.layers.2.conv.0.weight",)),  # of diffusers
            KeyCondition(has=("encoder.layers.1.conv.0.weight",)),
        ),
        misplaced="is a TAESD, a small decoder for previews, not {expected}. It belongs in models/VAE-approx.",
    ),
    ModelKind(
        CLIP_VISION,
        "CLIP vision encoder",
        lambda paths: paths.model_folders("clip_vision"),
        (".safetensors", ".bin", ".pth", ".pt"),
        (
            KeyCondition(has=("vision_model.embeddings.class_embedding",)),
            KeyCondition(has=("visual.class_embedding",)),
        ),
        misplaced="is a CLIP vision encoder, not {expected}. It belongs in models/clip_vision.",
    ),
)
