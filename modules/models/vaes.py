"""Which VAE files there are, and which one belongs to a checkpoint."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from modules.core.errors import NotFound, UserError
from modules.core.registry import did_you_mean
from modules.models.scan import VAE_EXTENSIONS, FileStamp, scan_folder

AUTOMATIC_VAE, NO_VAE = "Automatic", "None"
EXTENSIONS = (".safetensors", ".pt", ".ckpt")  # in the order of preference, as is VAE_EXTENSIONS


@dataclass(frozen=True)
class VaeFile:
    """A VAE in a file of its own.

    Args:
        name: Path relative to its folder, with forward slashes.
        path: Absolute, links not resolved.
        stamp: What the file was when it was listed.
    """

    name: str
    path: Path
    stamp: FileStamp


class VaeFiles:
    """Lists VAE files from models/VAE and from beside the checkpoints, and finds them by name.

    Args:
        folders: Hold VAEs alone.
        checkpoint_folders: Hold VAEs named `<checkpoint>.vae.<extension>`.
    """

    def __init__(self, folders: Sequence[Path], checkpoint_folders: Sequence[Path]) -> None:
        self._folders = tuple(folders)
        self._checkpoint_folders = tuple(checkpoint_folders)
        self._files: tuple[VaeFile, ...] | None = None

    def refresh(self) -> None:
        """Scan the folders again."""
        found: dict[str, VaeFile] = {}
        for folders, endings in (
            (self._folders, EXTENSIONS),
            (self._checkpoint_folders, VAE_EXTENSIONS),
        ):
            for folder in folders:
                for file in scan_folder(folder, endings, ()):
                    found.setdefault(file.name, VaeFile(file.name, file.path, file.stamp))
        self._files = tuple(sorted(found.values(), key=lambda f: (f.name.casefold(), f.name)))

    def files(self) -> tuple[VaeFile, ...]:
        """Return every VAE file, sorted by name."""
        if self._files is None:
            self.refresh()
        return self._files or ()

    def names(self) -> list[str]:
        """Return what can be chosen."""
        return [AUTOMATIC_VAE, NO_VAE, *(file.name for file in self.files())]

    def choose(self, name: str, checkpoint: Path) -> VaeFile | None:
        """Return the VAE that a choice means for a checkpoint; None for the one within it.

        Args:
            name: "Automatic", "None", or a file's name, with or without its folder.
            checkpoint: The checkpoint's file.

        Raises:
            NotFound: there is no such file.
            UserError: there are several.
        """
        wanted = name.strip().replace("\\", "/").casefold()
        if wanted == NO_VAE.casefold():
            return None
        if wanted in ("", AUTOMATIC_VAE.casefold()):
            return self._find_automatic(checkpoint)
        matching = [f for f in self.files() if f.name.casefold() == wanted] or [
            f for f in self.files() if f.path.name.casefold() == wanted
        ]
        if len(matching) > 1:
            listing = " or ".join(f"'{file.name}'" for file in matching)
            raise UserError(f"The VAE '{name}' may mean {listing}.", "Give its folder, too.")
        if not matching:
            raise NotFound(
                f"There is no VAE named '{name}'.",
                f"{did_you_mean(name, self.names()[2:])} VAEs are read from {self._folders[0]}.",
            )
        return _as_now(matching[0])

    def _find_automatic(self, checkpoint: Path) -> VaeFile | None:
        stem = checkpoint.stem.casefold()
        beside = [stem + ending for ending in VAE_EXTENSIONS]
        apart = [*beside, *(stem + ending for ending in EXTENSIONS)]
        places = [(checkpoint.parent, name) for name in beside]
        places += [(folder, name) for folder in self._folders for name in apart]
        listed = {(file.path.parent, file.path.name.casefold()): file for file in self.files()}
        found = next((listed[place] for place in places if place in listed), None)
        return None if found is None else _as_now(found)


def _as_now(file: VaeFile) -> VaeFile:
    """Return the file with its present size and time.

    Raises:
        NotFound: it is gone.
    """
    try:
        status = file.path.stat()
    except OSError:
        raise NotFound(
            f"The VAE '{file.name}' is no longer at '{file.path}'.",
            "Put the file back, or refresh the list and choose another.",
        ) from None
    stamp = FileStamp(str(file.path), status.st_size, status.st_mtime_ns)
    return dataclasses.replace(file, stamp=stamp)
