"""Chooses the VAE of a checkpoint: the one of the setting, or one named like the checkpoint."""

from __future__ import annotations

from pathlib import Path

from modules.models.files.scan import ModelFile
from modules.models.index import ModelIndex
from modules.models.kinds import VAE

AUTOMATIC_VAE, NO_VAE = "Automatic", "None"


def vae_names(models: ModelIndex) -> list[str]:
    """Return the options of the VAE setting."""
    return [AUTOMATIC_VAE, NO_VAE, *(file.name for file in models.files(VAE))]


def choose_vae(models: ModelIndex, name: str, checkpoint: Path) -> ModelFile | None:
    """Return the VAE file that a setting selects for a checkpoint; None for the checkpoint's own.

    Args:
        models: Lists the VAE files.
        name: "Automatic", "None", or a file's name, with or without its folder.
        checkpoint: The checkpoint's file.

    Raises:
        NotFound: there is no such file.
        UserError: there are several.
    """
    folded = name.strip().casefold()
    if folded == NO_VAE.casefold():
        return None
    if folded in ("", AUTOMATIC_VAE.casefold()):
        return _find_automatic(models, checkpoint)
    return models.find(VAE, name)


def _find_automatic(models: ModelIndex, checkpoint: Path) -> ModelFile | None:
    kind, stem = models.kinds.get(VAE), checkpoint.stem.casefold()
    sibling_names = [stem + suffix for suffix in kind.suffixes_beside_checkpoints]
    names = [*sibling_names, *(stem + suffix for suffix in kind.suffixes)]
    candidates = [(checkpoint.parent, name) for name in sibling_names]
    candidates += [(folder, name) for folder in models.folders(VAE) for name in names]
    listed = {(file.path.parent, file.path.name.casefold()): file for file in models.files(VAE)}
    found = next((listed[key] for key in candidates if key in listed), None)
    return None if found is None else models.with_current_stamp(VAE, found)
