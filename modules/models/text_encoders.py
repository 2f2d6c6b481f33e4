"""Which files carry a text encoder of which kind, and which of them serves a checkpoint that has none."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from modules.core.errors import WebUIError
from modules.models.families import detect, families
from modules.models.hashing import FileStamp
from modules.models.header import Header, read_header
from modules.models.ldm_names import (
    CLIP,
    OPEN_CLIP_KIND,
    UNET_CONTEXT,
    UNET_PROJECTION,
    actual_name,
    text_layout,
)
from modules.models.scan import scan

EXTENSIONS = (".safetensors", ".bin", ".pt", ".ckpt")
FOLDER = "models/text_encoder"
logger = logging.getLogger(__name__)


class TextSide(NamedTuple):
    """The text encoder that a file carries, or else the one that its UNet needs.

    Args:
        kind: "CLIP" or "OpenCLIP"; "" where neither can be told.
        width: Of what it gives for each token.
        is_there: Whether the file carries it.
    """

    kind: str = ""
    width: int = 0
    is_there: bool = False

    @property
    def wanted(self) -> TextSide:
        """Return what another file must carry to serve this one."""
        return self._replace(is_there=True)

    def __str__(self) -> str:
        """Return it in words."""
        article = "an" if self.kind.startswith("O") else "a"
        return f"{article} {self.kind} of width {self.width}"


def text_side(header: Header) -> TextSide:
    """Return the text encoder that a file carries or that its UNet needs."""
    tensors = header.tensors
    layout = text_layout(tensors)
    name = actual_name(tensors, layout.vocabulary if layout else UNET_CONTEXT)
    if name is None or len(tensors[name].shape) < 2:
        return TextSide()
    width = tensors[name].shape[1]
    if layout is not None:
        return TextSide(layout.kind, width, is_there=True)
    projection = actual_name(tensors, UNET_PROJECTION)
    # SD 2.x, and it alone, projects with linear layers about its transformers.
    is_linear = projection is not None and len(tensors[projection].shape) == 2
    return TextSide(OPEN_CLIP_KIND if is_linear else CLIP, width)


@dataclass(frozen=True)
class TextEncoderFile:
    """A file that a text encoder can be taken from.

    Args:
        name: Path relative to its folder, with forward slashes.
        path: Absolute, links not resolved.
        stamp: What the file was when it was listed.
        side: Its text encoder.
        is_checkpoint: Whether it is a whole checkpoint, rather than a file that was put there for this.
        remark: What it is when it has no text encoder, as the rest of a sentence.
    """

    name: str
    path: Path
    stamp: FileStamp
    side: TextSide
    is_checkpoint: bool = False
    remark: str = ""

    def as_now(self) -> TextEncoderFile | None:
        """Return it with its present size and time, or None when it is gone."""
        try:
            status = self.path.stat()
        except OSError:
            return None
        stamp = FileStamp(str(self.path), status.st_size, status.st_mtime_ns)
        return dataclasses.replace(self, stamp=stamp)


class TextEncoderFiles:
    """Lists the files in the folders for text encoders; opens them only when a checkpoint has none of its own.

    Args:
        folders: Hold text encoders alone.
    """

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = tuple(folders)
        self._files: tuple[TextEncoderFile, ...] | None = None

    def refresh(self) -> None:
        """Forget what was found."""
        self._files = None

    def files(self) -> tuple[TextEncoderFile, ...]:
        """Return every file, sorted by name; those without a text encoder too."""
        if self._files is None:
            found = {
                f.name: f for folder in reversed(self._folders) for f in scan(folder, EXTENSIONS)
            }
            ordered = sorted(found.values(), key=lambda f: (f.name.casefold(), f.name))
            self._files = tuple(_read(file.name, file.path, file.stamp) for file in ordered)
        return self._files

    def choose(
        self, needed: TextSide, checkpoint: Path, donors: Sequence[TextEncoderFile]
    ) -> TextEncoderFile | None:
        """Return the file that serves a checkpoint without a text encoder, None when there is none.

        One named like the checkpoint comes first, then the others of the folders by name, then the donors.

        Args:
            needed: What its UNet needs.
            checkpoint: Its file.
            donors: Whole checkpoints with what it needs, best first.
        """
        stem = checkpoint.stem.casefold()
        own = [file for file in self.files() if file.side == needed.wanted]
        own.sort(key=lambda file: file.path.stem.casefold() != stem)
        present = (file.as_now() for file in (*own, *donors))
        return next((file for file in present if file is not None), None)

    def advice(self, needed: TextSide) -> str:
        """Return what to put where, and why the files that are there do not serve."""
        unfit = [
            f"'{file.name}' there {file.remark or f'is {file.side}'}." for file in self.files()
        ]
        return " ".join([f"Put {needed} into {FOLDER}.", *unfit[:3]])


def _read(name: str, path: Path, stamp: FileStamp) -> TextEncoderFile:
    try:
        header = read_header(path)
    except WebUIError as error:
        logger.warning("%s", error)
        return TextEncoderFile(name, path, stamp, TextSide(), remark="cannot be read")
    side = text_side(header)
    if side.is_there:
        return TextEncoderFile(name, path, stamp, side)
    family = detect(header, families())
    remark = f"is of the kind {family.name}" if family else "is of no known kind"
    return TextEncoderFile(name, path, stamp, TextSide(), remark=remark)
