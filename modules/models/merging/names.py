"""The file name of a merged checkpoint: the user's, or A1111's from the recipe; it never replaces a file."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from pathlib import Path

from modules.core.errors import UserError
from modules.models.files.scan import CONFIG_SUFFIXES
from modules.models.merging.recipes import Recipe

SUFFIXES = (".safetensors", ".ckpt")
# A1111 finds the .yaml of such models by these parts of a name.
_KIND_SUFFIXES = {"inpaint": ".inpainting", "ip2p": ".instruct-pix2pix"}
_MAX_STEM_BYTES = 150
_BAD = re.compile(r'[\x00-\x1f\x7f<>:"/\\|?*]+')
_DEVICES = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)


def make_stem(
    recipe: Recipe, names: Sequence[str], multiplier: float, loras: Sequence[str] = ()
) -> str:
    """Return the name of a result that the user gave none, without extension.

    Args:
        recipe: How it is made.
        names: Of A, B and C as far as the recipe needs them, without folder and extension.
        multiplier: Of the recipe.
        loras: Names of the LoRAs.
    """
    letters = dict(zip("abc", names, strict=False))
    return recipe.name_format.format(
        m=round(multiplier, 2), rest=round(1 - multiplier, 2), loras=" + ".join(loras), **letters
    )


def clean_stem(name: str) -> str:
    """Return a name that every system can store, without extension; "" if nothing is left of it."""
    stem = _BAD.sub("_", name.strip())
    suffix = next((one for one in SUFFIXES if stem.lower().endswith(one)), "")
    stem = stem.removesuffix(stem[len(stem) - len(suffix) :])
    stem = "".join(letter if letter.isprintable() else "_" for letter in stem)
    stem = stem.encode(errors="replace")[:_MAX_STEM_BYTES].decode(errors="ignore")
    stem = stem.lstrip(". -").rstrip(". ")
    return f"_{stem}" if _DEVICES.fullmatch(stem) else stem


def choose_path(
    folder: Path, stem: str, extra_input: str, *, is_custom: bool, suffix: str = SUFFIXES[0]
) -> Path:
    """Return the path of a result.

    Args:
        folder: Of checkpoints.
        stem: Its name without extension; see `clean_stem`.
        extra_input: See `ResultLayout`.
        is_custom: Whether the user has chosen the name; any other gets a number where it is taken.
        suffix: Of the file.

    Raises:
        UserError: the user's name is taken.
    """
    stem += _KIND_SUFFIXES.get(extra_input, "")
    path = folder / f"{stem}{suffix}"
    taken = find_taken(path)
    if taken is None:
        return path
    if is_custom:
        raise UserError(
            f"'{taken.name}' already exists and is not overwritten.", "Choose another name."
        )
    numbered = (folder / f"{stem} ({number}){suffix}" for number in itertools.count(2))
    return next(path for path in numbered if find_taken(path) is None)


def find_taken(path: Path) -> Path | None:
    """Return the file that keeps a checkpoint from having a path: one of that name, or a .yaml that would apply to it."""
    candidates = (path, *(path.with_name(path.stem + suffix) for suffix in CONFIG_SUFFIXES))
    return next((one for one in candidates if one.is_symlink() or one.exists()), None)
