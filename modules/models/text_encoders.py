"""Which files carry a text encoder of which kind, and which of them serves a checkpoint that has none."""

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
from modules.models.ldm.names import (
    CLIP_KIND,
    OPEN_CLIP_KIND,
    UNET_CONTEXT_KEY,
    UNET_PROJ_IN_KEY,
    detect_text_encoder_layout,
    find_key,
)
from modules.models.scan import FileStamp, scan_folder

EXTENSIONS = (".safetensors", ".bin", ".pt", ".ckpt")
FOLDER = "models/text_encoder"
logger = logging.getLogger(__name__)


class TextEncoderInfo(NamedTuple):
    """The text encoder that a file carries, or else the one that its UNet needs.

    Args:
        kind: "CLIP" or "OpenCLIP"; "" where neither can be told.
        hidden_size: Of what it gives for each token.
        is_included: Whether the file carries it.
    """

    kind: str = ""
    hidden_size: int = 0
    is_included: bool = False

    @property
    def required(self) -> TextEncoderInfo:
        """Return what another file must carry to serve this one."""
        return self._replace(is_included=True)

    def __str__(self) -> str:
        """Return it in words."""
        article = "an" if self.kind.startswith("O") else "a"
        return f"{article} {self.kind} of width {self.hidden_size}"


def detect_text_encoder(header: Header) -> TextEncoderInfo:
    """Return the text encoder that a file carries or that its UNet needs."""
    tensors = header.tensors
    layout = detect_text_encoder_layout(tensors)
    name = find_key(tensors, layout.token_embedding_key if layout else UNET_CONTEXT_KEY)
    if name is None or len(tensors[name].shape) < 2:
        return TextEncoderInfo()
    width = tensors[name].shape[1]
    if layout is not None:
        return TextEncoderInfo(layout.kind, width, is_included=True)
    projection = find_key(tensors, UNET_PROJ_IN_KEY)
    # SD 2.x, and it alone, projects with linear layers about its transformers.
    is_linear = projection is not None and len(tensors[projection].shape) == 2
    return TextEncoderInfo(OPEN_CLIP_KIND if is_linear else CLIP_KIND, width)


@dataclass(frozen=True)
class TextEncoderFile:
    """A file that a text encoder can be taken from.

    Args:
        name: Path relative to its folder, with forward slashes.
        path: Absolute, links not resolved.
        stamp: What the file was when it was listed.
        info: Its text encoder.
        is_checkpoint: Whether it is a whole checkpoint, rather than a file that was put there for this.
        problem: What it is when it has no text encoder, as the rest of a sentence.
    """

    name: str
    path: Path
    stamp: FileStamp
    info: TextEncoderInfo
    is_checkpoint: bool = False
    problem: str = ""

    def with_current_stamp(self) -> TextEncoderFile | None:
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
                f.name: f
                for folder in reversed(self._folders)
                for f in scan_folder(folder, EXTENSIONS)
            }
            ordered = sorted(found.values(), key=lambda f: (f.name.casefold(), f.name))
            self._files = tuple(_read(file.name, file.path, file.stamp) for file in ordered)
        return self._files

    def choose(
        self, needed: TextEncoderInfo, checkpoint: Path, donors: Sequence[TextEncoderFile]
    ) -> TextEncoderFile | None:
        """Return the file that serves a checkpoint without a text encoder, None when there is none.

        One named like the checkpoint comes first, then the others of the folders by name, then the donors.

        Args:
            needed: What its UNet needs.
            checkpoint: Its file.
            donors: Whole checkpoints with what it needs, best first.
        """
        stem = checkpoint.stem.casefold()
        own = [file for file in self.files() if file.info == needed.required]
        own.sort(key=lambda file: file.path.stem.casefold() != stem)
        present = (file.with_current_stamp() for file in (*own, *donors))
        return next((file for file in present if file is not None), None)

    def hint(self, needed: TextEncoderInfo) -> str:
        """Return what to put where, and why the files that are there do not serve."""
        unfit = [
            f"'{file.name}' there {file.problem or f'is {file.info}'}." for file in self.files()
        ]
        return " ".join([f"Put {needed} into {FOLDER}.", *unfit[:3]])


def _read(name: str, path: Path, stamp: FileStamp) -> TextEncoderFile:
    try:
        header = read_header(path)
    except WebUIError as error:
        logger.warning("%s", error)
        return TextEncoderFile(name, path, stamp, TextEncoderInfo(), problem="cannot be read")
    side = detect_text_encoder(header)
    if side.is_included:
        return TextEncoderFile(name, path, stamp, side)
    family = detect_family(header, make_family_registry())
    remark = f"is of the kind {family.name}" if family else "is of no known kind"
    return TextEncoderFile(name, path, stamp, TextEncoderInfo(), problem=remark)
