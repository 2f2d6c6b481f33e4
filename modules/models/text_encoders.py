"""Detects the text encoders in files: in checkpoints, and in files that contain one alone."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from modules.core.errors import WebUIError
from modules.models.files.header import Header, read_header
from modules.models.files.scan import ModelFile
from modules.models.kinds import Detection
from modules.models.ldm.keys import UNET_CONTEXT_KEY, UNET_PROJ_IN_KEY, find_key
from modules.models.ldm.text_encoder_layouts import (
    CLIP_KIND,
    COND_STAGE_SLOT,
    OPEN_CLIP_KIND,
    TextEncoderSlot,
    detect_text_encoder_layout,
)

logger = logging.getLogger(__name__)


class TextEncoderInfo(NamedTuple):
    """A text encoder that a file contains, or else one that it needs.

    Args:
        kind: "CLIP" or "OpenCLIP"; "" if unknown.
        hidden_size: Width of its hidden states.
        is_included: Whether the file contains it.
    """

    kind: str = ""
    hidden_size: int = 0
    is_included: bool = False

    @property
    def required(self) -> TextEncoderInfo:
        """Return what another file must contain to supply the text encoder of this one."""
        return self._replace(is_included=True)

    def __str__(self) -> str:
        """Return it as a phrase for the user."""
        article = "an" if self.kind.startswith("O") else "a"
        return f"{article} {self.kind} of width {self.hidden_size}"


def detect_text_encoder(header: Header, slot: TextEncoderSlot = COND_STAGE_SLOT) -> TextEncoderInfo:
    """Return the text encoder that a file contains in that place, or that its UNet needs there."""
    tensors = header.tensors
    layout = detect_text_encoder_layout(tensors, slot)
    if layout is None and slot.kind:
        return TextEncoderInfo(slot.kind, slot.width)
    name = find_key(tensors, layout.token_embedding_key if layout else UNET_CONTEXT_KEY)
    if name is None or len(tensors[name].shape) < 2:
        return TextEncoderInfo()
    width = tensors[name].shape[1]
    if layout is not None:
        return TextEncoderInfo(layout.kind, width, is_included=True)
    projection = find_key(tensors, UNET_PROJ_IN_KEY)
    # SD 2.x alone has linear projections around its transformer blocks.
    is_linear = projection is not None and len(tensors[projection].shape) == 2
    return TextEncoderInfo(OPEN_CLIP_KIND if is_linear else CLIP_KIND, width)


NO_TEXT_ENCODER = TextEncoderInfo()


@dataclass(frozen=True)
class TextEncoderFile(ModelFile):
    """A file that a text encoder can be taken from.

    Args:
        info: Its text encoder.
        is_checkpoint: Whether it is a full checkpoint, not a file in the folder for text encoders.
        problem: Why it has no text encoder, as the rest of a sentence that begins with its name.
    """

    info: TextEncoderInfo = NO_TEXT_ENCODER
    is_checkpoint: bool = False
    problem: str = ""


def read_text_encoder_file(
    file: ModelFile, detect: Callable[[Header], Detection]
) -> TextEncoderFile:
    """Return a file in the folder for text encoders with its text encoder, or why it has none.

    Args:
        file: As listed.
        detect: Tells what a file without a text encoder contains.
    """
    try:
        header = read_header(file.path)
    except WebUIError as error:
        logger.warning("%s", error)
        return TextEncoderFile(**vars(file), problem="cannot be read")
    info = detect_text_encoder(header)
    if info.is_included:
        return TextEncoderFile(**vars(file), info=info)
    name = detect(header).name
    return TextEncoderFile(
        **vars(file), problem=f"is of type {name}" if name else "is of unknown type"
    )
