"""Checks of the files that a checkpoint's parts come from, by their headers."""

from __future__ import annotations

from pathlib import Path

from modules.core.errors import BadFile, UserError
from modules.models.families import make_family_registry
from modules.models.files.header import Header, read_header
from modules.models.kinds import VAE, Detection, detect, make_kind_registry
from modules.models.ldm.config import ModelConfig, TextEncoderSource
from modules.models.ldm.keys import VAE_DECODER_INPUT_KEY, find_key
from modules.models.ldm.text_encoder_layouts import TextEncoderSlot, detect_text_encoder_layout


def find_text_encoder(
    header: Header, name: str, slot: TextEncoderSlot, file: Path | None
) -> TextEncoderSource:
    """Return the header that describes a text encoder: the checkpoint's, or the one of its separate file.

    Raises:
        BadFile: the checkpoint lacks it.
        UserError: the separate file is no text encoder.
    """
    if file is None:
        if detect_text_encoder_layout(header.tensors, slot) is None:
            raise BadFile(f"'{name}' lacks its text encoder.", "Put one into models/text_encoder.")
        return TextEncoderSource(header, name, slot)
    header = read_header(file)
    place = slot.find_in(header.tensors)
    if place is None:
        raise UserError(
            f"'{file.name}' is no text encoder{_detected_kind(header)}.",
            "Remove it from models/text_encoder.",
        )
    return TextEncoderSource(header, file.name, place)


def validate_vae(path: Path, config: ModelConfig, checkpoint: str) -> None:
    """Check a separate VAE file.

    Raises:
        UserError: it is no VAE, or one for other latents.
    """
    header = read_header(path)
    kind = detect_kind(header).kind
    if kind is None or kind.name != VAE:
        raise UserError(
            f"'{path.name}' is no VAE{_detected_kind(header)}.", "Choose another VAE, or None."
        )
    key = find_key(header.tensors, VAE_DECODER_INPUT_KEY)
    channels = header.tensors[key].shape[1:2] if key else ()
    if channels and channels[0] != config.vae.z_channels:
        raise UserError(
            f"'{path.name}' is a VAE for latents of {channels[0]} channels, but those of '{checkpoint}' have"
            f" {config.vae.z_channels}.",
            "Choose another VAE, or None.",
        )


def _detected_kind(header: Header) -> str:
    """Return the detected kind of a wrong file, as the rest of a sentence."""
    name = detect_kind(header).name
    return f", but of the kind {name}" if name else ", nor any other model known here"


def detect_kind(header: Header) -> Detection:
    """Return what a file contains."""
    return detect(header, make_kind_registry(), make_family_registry())
