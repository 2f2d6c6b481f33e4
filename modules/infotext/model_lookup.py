"""Finds the checkpoint and the VAE that an infotext names among the installed ones."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

from modules.core.errors import WebUIError
from modules.infotext.codecs import Pairs
from modules.models.checkpoint import HASH_PATTERN, Checkpoint, fold_name
from modules.models.index import ModelIndex
from modules.models.vaes import NO_VAE, choose_vae, vae_names

# Other programs' names for the checkpoint's built-in VAE.
_BUILT_IN_VAE = ("none", "default (model)", "baked vae")
# A1111's until January 2023: a hash of a part of the file, not a prefix of its sha256.
_OLD_HASH_LENGTH = 8


@dataclass(frozen=True)
class FileMatch:
    """Result of the search for one file.

    Args:
        name: The name of the file found; "" for none.
        missing: A sentence that says which file to get; "" if none is missing.
        differs: A sentence on how the file differs from the one in the infotext; "" if it does not.
    """

    name: str = ""
    missing: str = ""
    differs: str = ""


def find_checkpoint(pairs: Pairs, models: ModelIndex) -> FileMatch:
    """Return the checkpoint with the infotext's hash, otherwise the one with its name."""
    model_hash = pairs.get("Model hash", "").strip().casefold()
    model_name = pairs.get("Model", "").strip()
    if not model_hash and not model_name:
        return FileMatch()
    is_old = len(model_hash) == _OLD_HASH_LENGTH
    if HASH_PATTERN.fullmatch(model_hash) and not is_old:
        by_hash = _find(models, model_hash)
        if isinstance(by_hash, Checkpoint):
            return FileMatch(by_hash.name)
    by_name = _find(models, model_name) if model_name else ""
    if isinstance(by_name, Checkpoint):
        return FileMatch(
            by_name.name, differs=_describe_hash_difference(by_name, model_hash, is_old)
        )
    title = model_name or "a checkpoint"
    if model_hash:
        title += f" [{model_hash}]"
    sentence = f"The picture was made with {title}, which is not here. Put the file into the checkpoints' folder."
    if is_old:
        sentence += f" {model_hash} is a hash in the format of 2022, which cannot be looked up."
    return FileMatch(missing=sentence if not by_name else f"{sentence} {by_name}")


def find_vae(vae_name: str, models: ModelIndex) -> FileMatch:
    """Return the VAE with that filename, with or without extension."""
    folded = fold_name(vae_name.strip())
    if folded in _BUILT_IN_VAE:
        return FileMatch(NO_VAE)
    for name in vae_names(models):
        path = PurePosixPath(name)
        if folded in map(fold_name, (name, path.name, path.stem)):
            return FileMatch(name)
    return FileMatch(
        missing=f"The picture was made with the VAE {vae_name}, which is not here. Put the file into the VAEs' folder."
    )


def uses_external_vae(vae_setting: str, checkpoint: Checkpoint, models: ModelIndex) -> bool:
    """Return whether a VAE setting selects a VAE other than the checkpoint's built-in one."""
    if vae_setting == NO_VAE:
        return False
    try:
        return choose_vae(models, vae_setting, checkpoint.path) is not None
    except WebUIError:  # reported when the job is submitted
        return True


def _find(models: ModelIndex, name: str) -> Checkpoint | str:
    """Return the checkpoint, or the error with the files of that name; "" if there is none."""
    try:
        return models.find_checkpoint(name)
    except WebUIError as error:
        return "" if error.status_code == 404 else str(error)


def _describe_hash_difference(checkpoint: Checkpoint, model_hash: str, is_old: bool) -> str:
    sha256 = checkpoint.sha256
    if not model_hash or is_old or not sha256 or sha256.startswith(model_hash):
        return ""
    return (
        f"The checkpoint {checkpoint.name} has the hash {checkpoint.short_hash}, the picture was made with one of "
        f"that name and the hash {model_hash}."
    )
