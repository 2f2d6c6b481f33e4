"""The checkpoint and the VAE that an infotext names, among those that are there."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

from modules.core.errors import WebUIError
from modules.infotext.codecs import Pairs
from modules.models.manager import HASH_PATTERN, Checkpoint, ModelManager
from modules.models.vaes import NO_VAE

_OWN_VAE = (
    "none",
    "default (model)",
    "baked vae",
)  # other programs' words for the one in the checkpoint
_OLD_HASH_LENGTH = (
    8  # A1111's until January 2023: of a part of the file, and no beginning of its sha256
)


@dataclass(frozen=True)
class FileMatch:
    """What became of the search for one file.

    Args:
        name: The name of the one that is taken; "" when none is.
        missing: Which file to get, as a sentence; "" when none is missing.
        differs: How the file that is taken is not the one that was told, as a sentence; "" when it is that one.
    """

    name: str = ""
    missing: str = ""
    differs: str = ""


def find_checkpoint(pairs: Pairs, models: ModelManager) -> FileMatch:
    """Return the checkpoint of that hash, or else of that name."""
    told_hash = pairs.get("Model hash", "").strip().casefold()
    told_name = pairs.get("Model", "").strip()
    if not told_hash and not told_name:
        return FileMatch()
    is_old = len(told_hash) == _OLD_HASH_LENGTH
    if HASH_PATTERN.fullmatch(told_hash) and not is_old:
        by_hash = _find(models, told_hash)
        if isinstance(by_hash, Checkpoint):
            return FileMatch(by_hash.name)
    by_name = _find(models, told_name) if told_name else ""
    if isinstance(by_name, Checkpoint):
        return FileMatch(by_name.name, differs=_other_hash(by_name, told_hash, is_old))
    told = told_name or "a checkpoint"
    if told_hash:
        told += f" [{told_hash}]"
    said = f"The picture was made with {told}, which is not here. Put the file into the checkpoints' folder."
    if is_old:
        said += f" {told_hash} is a hash of 2022's kind, by which nothing can be found."
    return FileMatch(missing=said if not by_name else f"{said} {by_name}")


def find_vae(vae_name: str, models: ModelManager) -> FileMatch:
    """Return the VAE of that file name, with or without its extension."""
    wanted = vae_name.strip().replace("\\", "/").casefold()
    if wanted in _OWN_VAE:
        return FileMatch(NO_VAE)
    for name in models.vaes.names():
        path = PurePosixPath(name.casefold())
        if wanted in (name.casefold(), path.name, path.stem):
            return FileMatch(name)
    return FileMatch(
        missing=f"The picture was made with the VAE {vae_name}, which is not here. Put the file into the VAEs' folder."
    )


def uses_external_vae(vae_setting: str, checkpoint: Checkpoint, models: ModelManager) -> bool:
    """Return whether a choice of a VAE takes another one than the checkpoint's own."""
    if vae_setting == NO_VAE:
        return False
    try:
        return models.vaes.choose(vae_setting, checkpoint.path) is not None
    except WebUIError:  # told when the job is submitted
        return True


def _find(models: ModelManager, name: str) -> Checkpoint | str:
    """Return the checkpoint, or what is wrong with the ones of that name; "" when there is none."""
    try:
        return models.find(name)
    except WebUIError as error:
        return "" if error.status_code == 404 else str(error)


def _other_hash(checkpoint: Checkpoint, told: str, is_old: bool) -> str:
    if not told or is_old or not checkpoint.sha256 or checkpoint.sha256.startswith(told):
        return ""
    return (
        f"The checkpoint {checkpoint.name} has the hash {checkpoint.short_hash}, the picture was made with one of "
        f"that name and the hash {told}."
    )
