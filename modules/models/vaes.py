"""Lists VAE files and chooses the one for a checkpoint."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from modules.core.errors import NotFound, UserError
from modules.core.registry import did_you_mean
from modules.models.scan import CHECKPOINT_VAE_EXTENSIONS, FileStamp, read_stamp, scan_folder

AUTOMATIC_VAE, NO_VAE = "Automatic", "None"
VAE_EXTENSIONS = (".safetensors", ".pt", ".ckpt")  # best first, like CHECKPOINT_VAE_EXTENSIONS


@dataclass(frozen=True)
class VaeFile:
    """A separate VAE file.

    Args:
        name: Path relative to its folder, with forward slashes.
        path: Absolute, links not resolved.
        stamp: Its content when it was listed.
    """

    name: str
    path: Path
    stamp: FileStamp


class VaeFiles:
    """VAE files in models/VAE and in the folders of the checkpoints, found by name.

    Args:
        folders: Folders for VAEs only.
        checkpoint_folders: Folders of checkpoints, with VAEs named `<checkpoint>.vae.<extension>`.
    """

    def __init__(self, folders: Sequence[Path], checkpoint_folders: Sequence[Path]) -> None:
        self._folders = tuple(folders)
        self._checkpoint_folders = tuple(checkpoint_folders)
        self._files: tuple[VaeFile, ...] | None = None

    def refresh(self) -> None:
        """Scan the folders again."""
        found: dict[str, VaeFile] = {}
        for folders, extensions in (
            (self._folders, VAE_EXTENSIONS),
            (self._checkpoint_folders, CHECKPOINT_VAE_EXTENSIONS),
        ):
            for folder in folders:
                for file in scan_folder(folder, extensions, ()):
                    found.setdefault(file.name, VaeFile(file.name, file.path, file.stamp))
        self._files = tuple(sorted(found.values(), key=lambda f: (f.name.casefold(), f.name)))

    def files(self) -> tuple[VaeFile, ...]:
        """Return every VAE file, sorted by name."""
        if self._files is None:
            self.refresh()
        return self._files or ()

    def names(self) -> list[str]:
        """Return the options of the VAE setting."""
        return [AUTOMATIC_VAE, NO_VAE, *(file.name for file in self.files())]

    def choose(self, name: str, checkpoint: Path) -> VaeFile | None:
        """Return the VAE that a setting selects for a checkpoint; None for the checkpoint's own.

        Args:
            name: "Automatic", "None", or a file's name, with or without its folder.
            checkpoint: The checkpoint's file.

        Raises:
            NotFound: there is no such file.
            UserError: there are several.
        """
        query = name.strip().replace("\\", "/").casefold()
        if query == NO_VAE.casefold():
            return None
        if query in ("", AUTOMATIC_VAE.casefold()):
            return self._find_automatic(checkpoint)
        matching = [f for f in self.files() if f.name.casefold() == query] or [
            f for f in self.files() if f.path.name.casefold() == query
        ]
        if len(matching) > 1:
            listing = " or ".join(f"'{file.name}'" for file in matching)
            raise UserError(f"The VAE name '{name}' can mean {listing}.", "Include the folder.")
        if not matching:
            raise NotFound(
                f"There is no VAE named '{name}'.",
                f"{did_you_mean(name, self.names()[2:])} VAEs are read from {self._folders[0]}.",
            )
        return _with_current_stamp(matching[0])

    def _find_automatic(self, checkpoint: Path) -> VaeFile | None:
        stem = checkpoint.stem.casefold()
        checkpoint_names = [stem + extension for extension in CHECKPOINT_VAE_EXTENSIONS]
        vae_names = [*checkpoint_names, *(stem + extension for extension in VAE_EXTENSIONS)]
        candidates = [(checkpoint.parent, name) for name in checkpoint_names]
        candidates += [(folder, name) for folder in self._folders for name in vae_names]
        listed = {(file.path.parent, file.path.name.casefold()): file for file in self.files()}
        found = next((listed[key] for key in candidates if key in listed), None)
        return None if found is None else _with_current_stamp(found)


def _with_current_stamp(file: VaeFile) -> VaeFile:
    """Return the file with its current size and modification time.

    Raises:
        NotFound: it is gone.
    """
    try:
        stamp = read_stamp(file.path)
    except OSError:
        raise NotFound(
            f"The VAE '{file.name}' is no longer at '{file.path}'.",
            "Put the file back, or refresh the list and choose another.",
        ) from None
    return dataclasses.replace(file, stamp=stamp)
