"""What a merged checkpoint says about its making, in A1111's keys of a .safetensors file's metadata."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

RECIPE_KEY, MODELS_KEY = "sd_merge_recipe", "sd_merge_models"
# Where A1111's former hash of a checkpoint was taken from.
_LEGACY_START, _LEGACY_BYTES, _LEGACY_DIGITS = 0x100000, 0x10000, 8


@dataclass(frozen=True)
class MergedFile:
    """One of the checkpoints, as the metadata name it.

    Args:
        name: With its folder.
        sha256: Hash of the file.
        legacy_hash: A1111's hash of old versions.
        metadata: Its own.
    """

    name: str
    sha256: str
    legacy_hash: str
    metadata: Mapping[str, str] = field(repr=False)


def make_recipe_metadata(files: Sequence[MergedFile], fields: Mapping[str, Any]) -> dict[str, str]:
    """Return the metadata on how a checkpoint was made.

    Args:
        files: A, B and C as far as the recipe needs them.
        fields: What else the recipe names, by A1111's keys.
    """
    hashes = [file.sha256 for file in files] + [None] * (3 - len(files))
    places = ("primary", "secondary", "tertiary")
    recipe = {
        "type": "webui",
        **{f"{place}_model_hash": sha for place, sha in zip(places, hashes, strict=True)},
        **fields,
    }
    models: dict[str, Any] = {}
    for file in files:
        models[file.sha256] = {
            "name": file.name,
            "legacy_hash": file.legacy_hash,
            RECIPE_KEY: _read_json(file.metadata.get(RECIPE_KEY)),
        }
        earlier = _read_json(file.metadata.get(MODELS_KEY))
        models.update(earlier or {})
    return {RECIPE_KEY: json.dumps(recipe), MODELS_KEY: json.dumps(models)}


def read_legacy_hash(path: Path) -> str:
    """Return A1111's hash of old versions.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        file.seek(_LEGACY_START)
        return hashlib.sha256(file.read(_LEGACY_BYTES)).hexdigest()[:_LEGACY_DIGITS]


def _read_json(text: str | None) -> dict[str, Any] | None:
    """Return an object that a file's metadata contain as text, None if it is none."""
    try:
        value: object = json.loads(text or "null")
    except (ValueError, RecursionError):
        return None
    return cast("dict[str, Any]", value) if isinstance(value, dict) else None
