"""Textual-inversion embeddings: what each file contains, which checkpoints can use it, and under which name."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from modules.core.errors import WebUIError
from modules.models.checkpoint import Checkpoint
from modules.models.files.header import Header, read_header
from modules.models.files.picture_embedding import PICTURE_SUFFIXES, read_picture_embedding
from modules.models.files.safe_pickle import DAMAGE
from modules.models.files.scan import FileStamp, ModelFile, scan_folder
from modules.models.kinds import EMBEDDING, Detection
from modules.models.networks.lora_keys import BUNDLED_PREFIX

logger = logging.getLogger(__name__)

MAX_VECTORS = 75  # those that a chunk of a prompt holds
PAIR_KEYS = ("clip_l", "clip_g")  # of SDXL, in the order of its text encoders
PARAMETERS = "string_to_param."
SHORT_HASH_LENGTH = 12
_PREVIEW_SUFFIXES = tuple(f".preview{suffix}" for suffix in PICTURE_SUFFIXES)
_FAMILIES: Mapping[tuple[int, ...], str] = {
    (768,): "SD 1.x",
    (1024,): "SD 2.x",
    (768, 1280): "SDXL",
}


@dataclass(frozen=True)
class Embedding:
    """An embedding, or a file among the embeddings that is none.

    Args:
        name: Its word in prompts.
        file: The file; several embeddings may be in one.
        keys: The key of its vectors for each text encoder, in their order.
        widths: The width of the vectors for each text encoder.
        vector_count: How many tokens it takes the place of.
        step: Training steps, None if unknown.
        checkpoint_hash: Of the checkpoint that it was trained on, None if unknown.
        checkpoint_name: Likewise.
        error: Why it cannot be used with any checkpoint, as a sentence.
    """

    name: str
    file: ModelFile
    keys: tuple[str, ...] = ()
    widths: tuple[int, ...] = ()
    vector_count: int = 0
    step: int | None = None
    checkpoint_hash: str | None = None
    checkpoint_name: str | None = None
    error: str = ""

    @property
    def family(self) -> str:
        """Return the family of the checkpoints that it fits, "" if its width is none of theirs."""
        return _FAMILIES.get(self.widths, "")

    @property
    def is_picture(self) -> bool:
        """Return whether it is hidden in a picture."""
        return self.file.path.suffix.lower() in PICTURE_SUFFIXES

    def find_misfit(self, checkpoint: Checkpoint) -> str:
        """Return why a checkpoint cannot use it, in a sentence; "" if it can."""
        if self.error:
            return self.error
        needed = checkpoint_widths(checkpoint)
        if self.widths == needed:
            return ""
        what = f"for {self.family}" if self.family else f"of width {_join(self.widths)}"
        return (
            f"The embedding '{self.name}' is {what}; the text encoder of '{checkpoint.name}' has the width"
            f" {_join(needed)}."
        )


def checkpoint_widths(checkpoint: Checkpoint) -> tuple[int, ...]:
    """Return the width of each text encoder of a checkpoint."""
    return tuple(info.hidden_size for info in checkpoint.text_encoders)


def _join(widths: Iterable[int]) -> str:
    return " + ".join(map(str, widths)) or "0"


class ModelFiles(Protocol):
    """What lists model files: `ModelIndex`, which has this folder's list of networks in it."""

    def refresh(self, kind: str) -> None:
        """Scan the folders of a kind again."""
        ...

    def files(self, kind: str) -> Sequence[ModelFile]:
        """Return every file of a kind."""
        ...

    def folders(self, kind: str) -> Sequence[Path]:
        """Return the folders of a kind."""
        ...

    def sha256(self, file: ModelFile, timeout_s: float | None = None) -> str:
        """Return the hash of a file, "" after the timeout."""
        ...

    def detect(self, header: Header) -> Detection:
        """Return what a file contains."""
        ...


class EmbeddingList:
    """The embeddings in their folder; each file is opened once, after every scan of the folder. Thread-safe.

    Args:
        models: Lists their folder.
    """

    def __init__(self, models: ModelFiles) -> None:
        self._models = models
        self._lock = threading.Lock()
        self._read: dict[FileStamp, Embedding | None] = {}  # None for an ordinary picture
        self._listed: tuple[Embedding, ...] = ()
        self._files: Sequence[ModelFile] | None = None  # of the last scan
        self._changed_ns: tuple[int, ...] = ()  # when its folders last changed

    def refresh(self) -> None:
        """Scan the folder again; only new and changed files are opened."""
        self._models.refresh(EMBEDDING)
        self.all()

    def refresh_if_changed(self) -> None:
        """Scan the folder again if a file has been added to it or removed, as A1111 does before every job."""
        changed_ns = tuple(_change_times(self._models.folders(EMBEDDING)))
        if changed_ns != self._changed_ns:
            self._changed_ns = changed_ns
            self.refresh()

    def all(self) -> Sequence[Embedding]:
        """Return every embedding, sorted by name, including those with an error."""
        with self._lock:
            files = self._models.files(EMBEDDING)
            if files is not self._files:
                self._listed, self._files = self._list(), files
            return self._listed

    def usable(self, checkpoint: Checkpoint) -> Sequence[Embedding]:
        """Return those that a checkpoint can use."""
        return [one for one in self.all() if not one.find_misfit(checkpoint)]

    def short_hash(self, embedding: Embedding, timeout_s: float) -> str:
        """Return the first digits of the hash of its file; "" if it is not known in time."""
        try:
            return self._models.sha256(embedding.file, timeout_s)[:SHORT_HASH_LENGTH]
        except WebUIError as error:
            logger.warning("%s", error)
            return ""

    def _list(self) -> tuple[Embedding, ...]:
        files = list(self._models.files(EMBEDDING))
        with_preview = {file.path.with_suffix("") for file in files}
        files += self._pictures()
        for file in files:
            if file.stamp not in self._read:
                is_preview = file.path.with_suffix("") in with_preview
                self._read[file.stamp] = read_embedding(file, is_preview, self._models.detect)
        stamps = {file.stamp for file in files}
        self._read = {stamp: one for stamp, one in self._read.items() if stamp in stamps}
        found: dict[str, Embedding] = {}
        for file in files:
            embedding = self._read[file.stamp]
            if embedding is not None:
                found.setdefault(embedding.name, embedding)
        return tuple(sorted(found.values(), key=lambda one: (one.name.casefold(), one.name)))

    def _pictures(self) -> list[ModelFile]:
        pictures = [
            file
            for folder in self._models.folders(EMBEDDING)
            for file in scan_folder(folder, PICTURE_SUFFIXES, _PREVIEW_SUFFIXES)
        ]
        return sorted(pictures, key=lambda file: file.name)


def _change_times(folders: Iterable[Path]) -> Iterator[int]:
    """Yield when each folder and its subfolders last changed, in nanoseconds."""
    for folder in folders:
        for path, _, _ in os.walk(folder):
            with suppress(OSError):
                yield os.stat(path).st_mtime_ns  # noqa: PTH116  a text, of hundreds of folders


def read_embedding(
    file: ModelFile,
    is_preview: bool = False,
    detect: Callable[[Header], Detection] = lambda _: Detection(),
) -> Embedding | None:
    """Return the embedding in a file, with an error if it has none; None for an ordinary picture.

    Args:
        file: The file.
        is_preview: Whether a picture belongs to another file, so that its pixels are not searched.
        detect: Tells what a file of another kind contains.
    """
    try:
        if file.path.suffix.lower() in PICTURE_SUFFIXES:
            return _read_picture(file, is_preview)
        return _read_header(file, read_header(file.path), detect)
    except WebUIError as error:
        return Embedding(file.stem, file, error=str(error))
    except (OSError, *DAMAGE) as error:
        return Embedding(file.stem, file, error=f"'{file.file_name}' cannot be read: {error}.")


def read_bundle(file: ModelFile, header: Header) -> tuple[Embedding, ...]:
    """Return the embeddings in a LoRA file, whose keys are `bundle_emb.<name>.<part>`.

    Args:
        file: The LoRA file.
        header: Of the same file.
    """
    shapes: dict[str, dict[str, tuple[int, ...]]] = {}
    for key, info in header.tensors.items():
        name, dot, part = key.removeprefix(BUNDLED_PREFIX).partition(".")
        if dot and key.startswith(BUNDLED_PREFIX):
            shapes.setdefault(name, {})[part] = info.shape
    bundle = (_describe(name, file, parts, {}) for name, parts in shapes.items())
    return tuple(
        replace(one, keys=tuple(f"{BUNDLED_PREFIX}{one.name}.{key}" for key in one.keys))
        for one in bundle
    )


def _read_picture(file: ModelFile, is_preview: bool) -> Embedding | None:
    found = read_picture_embedding(file.path, with_pixels=not is_preview)
    if found is None:
        return None
    shapes = {key: array.shape for key, array in found.tensors.items()}
    return _describe(found.name or file.stem, file, shapes, found.values)


def _read_header(
    file: ModelFile, header: Header, detect: Callable[[Header], Detection]
) -> Embedding:
    shapes = {key: info.shape for key, info in header.tensors.items()}
    embedding = _describe(file.stem, file, shapes, header.values)
    if embedding.keys and not any("." in key.removeprefix(PARAMETERS) for key in shapes):
        return (
            embedding  # the tensors of a network have dots in their names; detection takes a while
        )
    kind = detect(header).kind
    if kind is None or kind.name == EMBEDDING:
        return embedding
    sentence = kind.misplaced.format(expected="an embedding")
    return replace(embedding, error=f"'{file.file_name}' {sentence}")


def _describe(
    name: str,
    file: ModelFile,
    shapes: Mapping[str, tuple[int, ...]],
    values: Mapping[str, Any],
) -> Embedding:
    """Return the embedding with these tensors and other values."""
    keys = [key for key in shapes if key.startswith(PARAMETERS)] or list(shapes)
    if set(PAIR_KEYS) <= set(keys):
        keys = list(PAIR_KEYS)
    elif len(keys) != 1:
        what = f"holds {len(keys)} tensors, and an embedding one" if keys else "holds no tensors"
        return Embedding(name, file, error=f"'{file.file_name}' {what}.")
    sizes = [shapes[key] if len(shapes[key]) > 1 else (1, *shapes[key]) for key in keys]
    if any(len(size) != 2 or 0 in size for size in sizes) or len({size[0] for size in sizes}) > 1:
        text = " and ".join("x".join(map(str, shapes[key])) for key in keys)
        return Embedding(
            name, file, error=f"'{file.file_name}' holds no vectors but {text} numbers."
        )
    step, trained_on, trained_name = map(
        values.get, ("step", "sd_checkpoint", "sd_checkpoint_name")
    )
    count = sizes[0][0]
    return Embedding(
        name,
        file,
        tuple(keys),
        tuple(size[1] for size in sizes),
        count,
        step if isinstance(step, int) else None,
        trained_on if isinstance(trained_on, str) else None,
        trained_name if isinstance(trained_name, str) else None,
        f"The embedding '{name}' has {count} vectors, and a part of a prompt holds {MAX_VECTORS}."
        if count > MAX_VECTORS
        else "",
    )
