"""A checkpoint file as the page lists it, and how one is found by name or hash."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from modules.core.errors import NotFound, UserError
from modules.core.registry import did_you_mean
from modules.models.files.scan import ModelFile
from modules.models.prediction_facts import PredictionFacts
from modules.models.text_encoders import TextEncoderInfo

SHORT_HASH_LENGTH = 10
HASH_PATTERN = re.compile(r"[0-9a-f]{8,64}")


@dataclass(frozen=True)
class Checkpoint(ModelFile):
    """A checkpoint file; its name is its identity.

    Args:
        family: Name of the row of FAMILIES, "" when none matches.
        error: Why the file cannot be loaded, in a sentence; "" when it can.
        sha256: Hash of the whole file, "" until it is known.
        text_encoders: Its text encoders, or those it needs: one for each place that its family names.
        prediction: What it says about the prediction of its UNet.
    """

    family: str
    error: str
    sha256: str = field(compare=False)  # arrives later; the checkpoint is the same
    text_encoders: tuple[TextEncoderInfo, ...]
    prediction: PredictionFacts

    @property
    def title(self) -> str:
        """Name and, once known, short hash: "sub/name.safetensors [0123456789]"."""
        return f"{self.name} [{self.short_hash}]" if self.sha256 else self.name

    @property
    def short_hash(self) -> str:
        """First ten digits of the hash, "" until it is known."""
        return self.sha256[:SHORT_HASH_LENGTH]

    @property
    def model_name(self) -> str:
        """File name without folder and extension."""
        return self.stem

    @property
    def text_encoder(self) -> TextEncoderInfo:
        """Return the first of its text encoders."""
        return self.text_encoders[0]

    @property
    def includes_text_encoders(self) -> bool:
        """Return whether the file contains all of its text encoders."""
        return all(info.is_included for info in self.text_encoders)


def match_checkpoint(
    name: str, listed: Sequence[Checkpoint], folders: Sequence[Path]
) -> Checkpoint:
    """Return the checkpoint with that title, name, file name, path or hash, ignoring case.

    Args:
        name: As a user or an infotext spells it.
        listed: All checkpoints.
        folders: Where they are read from, for messages.

    Raises:
        NotFound: no checkpoint matches.
        UserError: several match.
    """
    query = fold_name(_without_hash(name.strip()))
    for key in (_name_key, _stem_key, _file_name_key, _model_name_key, _path_key):
        found = [c for c in listed if fold_name(key(c)) == query]
        if len(found) > 1:
            raise UserError(
                f"'{name}' can mean {_listing(found)}.",
                "Use the checkpoint's full name, with folder and extension.",
            )
        if found:
            return found[0]
    if HASH_PATTERN.fullmatch(query):
        found = [c for c in listed if c.sha256.startswith(query)]
        if found:  # files with equal hashes are the same model
            return found[0]
    hint = did_you_mean(name, (c.name for c in listed))
    raise NotFound(
        f"There is no checkpoint named '{name}'.",
        f"{hint} Checkpoints are read from {' and '.join(map(str, folders))}.".strip(),
    )


def _without_hash(title: str) -> str:
    name, _, rest = title.rpartition("[")
    return (
        name.rstrip()
        if HASH_PATTERN.fullmatch(rest.removesuffix("]").casefold()) and name
        else title
    )


def fold_name(name: str) -> str:
    """Return a name as names are compared: without case, and with either slash."""
    return name.replace("\\", "/").casefold()


def _name_key(checkpoint: Checkpoint) -> str:
    return checkpoint.name


def _stem_key(checkpoint: Checkpoint) -> str:
    return checkpoint.name.rpartition(".")[0]


def _file_name_key(checkpoint: Checkpoint) -> str:
    return checkpoint.file_name


def _model_name_key(checkpoint: Checkpoint) -> str:
    return checkpoint.model_name


def _path_key(checkpoint: Checkpoint) -> str:
    return checkpoint.shown_path


def _listing(checkpoints: Iterable[Checkpoint]) -> str:
    return " or ".join(f"'{checkpoint.name}'" for checkpoint in checkpoints)
