"""Detects text encoders in files and chooses one for a checkpoint without a text encoder."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from modules.core.errors import WebUIError
from modules.models.families import detect_family, make_family_registry
from modules.models.files.header import Header, read_header
from modules.models.ldm.keys import UNET_CONTEXT_KEY, UNET_PROJ_IN_KEY, find_key
from modules.models.ldm.text_encoder_layouts import (
    CLIP_KIND,
    OPEN_CLIP_KIND,
    detect_text_encoder_layout,
)
from modules.models.scan import FileStamp, read_stamp, scan_folder

TEXT_ENCODER_EXTENSIONS = (".safetensors", ".bin", ".pt", ".ckpt")
FOLDER = "models/text_encoder"
logger = logging.getLogger(__name__)


class TextEncoderInfo(NamedTuple):
    """The text encoder that a file contains, or else the one that its UNet needs.

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


def detect_text_encoder(header: Header) -> TextEncoderInfo:
    """Return the text encoder that a file contains or that its UNet needs."""
    tensors = header.tensors
    layout = detect_text_encoder_layout(tensors)
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


@dataclass(frozen=True)
class TextEncoderFile:
    """A file that a text encoder can be taken from.

    Args:
        name: Path relative to its folder, with forward slashes.
        path: Absolute, links not resolved.
        stamp: Its content when it was listed.
        info: Its text encoder.
        is_checkpoint: Whether it is a full checkpoint, not a file in the folder for text encoders.
        problem: Why it has no text encoder, as the rest of a sentence that begins with its name.
    """

    name: str
    path: Path
    stamp: FileStamp
    info: TextEncoderInfo
    is_checkpoint: bool = False
    problem: str = ""

    def with_current_stamp(self) -> TextEncoderFile | None:
        """Return it with its current size and modification time, or None when it is gone."""
        try:
            return dataclasses.replace(self, stamp=read_stamp(self.path))
        except OSError:
            return None


class TextEncoderFiles:
    """Files in the folders for text encoders; they are opened only when a checkpoint has no text encoder.

    Args:
        folders: Folders for text encoders only.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = tuple(folders)
        self._files: tuple[TextEncoderFile, ...] | None = None

    def refresh(self) -> None:
        """Clear the list, so that the folders are scanned again when needed."""
        self._files = None

    def files(self) -> tuple[TextEncoderFile, ...]:
        """Return every file, sorted by name; also those without a text encoder."""
        if self._files is None:
            found = {
                f.name: f
                for folder in reversed(self._folders)
                for f in scan_folder(folder, TEXT_ENCODER_EXTENSIONS)
            }
            ordered = sorted(found.values(), key=lambda f: (f.name.casefold(), f.name))
            self._files = tuple(_read_file(file.name, file.path, file.stamp) for file in ordered)
        return self._files

    def choose(
        self, needed: TextEncoderInfo, checkpoint: Path, donors: Sequence[TextEncoderFile]
    ) -> TextEncoderFile | None:
        """Return the text encoder file for a checkpoint without a text encoder, None when there is none.

        A file with the checkpoint's name comes first, then the others in the folders by name, then the donors.

        Args:
            needed: The text encoder its UNet needs.
            checkpoint: The checkpoint's file.
            donors: Full checkpoints that contain this text encoder, best first.
        """
        stem = checkpoint.stem.casefold()
        matching = [file for file in self.files() if file.info == needed.required]
        matching.sort(key=lambda file: file.path.stem.casefold() != stem)
        existing = (file.with_current_stamp() for file in (*matching, *donors))
        return next((file for file in existing if file is not None), None)

    def hint(self, needed: TextEncoderInfo) -> str:
        """Return which file to add where, and why the files in the folder cannot be used."""
        unusable = [
            f"'{file.name}' there {file.problem or f'is {file.info}'}." for file in self.files()
        ]
        return " ".join([f"Put {needed} into {FOLDER}.", *unusable[:3]])


def _read_file(name: str, path: Path, stamp: FileStamp) -> TextEncoderFile:
    try:
        header = read_header(path)
    except WebUIError as error:
        logger.warning("%s", error)
        return TextEncoderFile(name, path, stamp, TextEncoderInfo(), problem="cannot be read")
    info = detect_text_encoder(header)
    if info.is_included:
        return TextEncoderFile(name, path, stamp, info)
    family = detect_family(header, make_family_registry())
    problem = f"is of type {family.name}" if family else "is of unknown type"
    return TextEncoderFile(name, path, stamp, TextEncoderInfo(), problem=problem)
