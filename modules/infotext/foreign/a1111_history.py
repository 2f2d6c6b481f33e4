"""What older versions of A1111 did otherwise, as the options that bring it back.

A1111 1.10.1 applies the same rules (`infotext_versions`); a text without a version, or with another program's, is
taken to be of today.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

from modules.infotext.codecs import Pairs, parse_size
from modules.infotext.text_format import Infotext

_VERSION = re.compile(r"v?(\d+)\.(\d+)\.(\d+)(?:-(\d+)-g[0-9a-f]+)?\S*")
# Older ones chose the first pass by its area.
_FIRST_PASS_AREA = 512 * 512
Version = tuple[int, int, int, int]  # the fourth: commits since the tag


@dataclass(frozen=True)
class BackcompatRule:
    """One row of BACKCOMPAT_RULES: texts of an older version that match are read as if the pair stood in them."""

    before: Version
    matches: Callable[[Infotext], bool]
    key: str
    value: str


def parse_version(text: str) -> Version | None:
    """Return the parts of a version as `git describe` tells it, such as "v1.6.0-2-g4afaaf8a"."""
    match = _VERSION.fullmatch(text.strip())
    if match is None:
        return None
    major, minor, patch, commits = (int(part or 0) for part in match.groups())
    return major, minor, patch, commits


def _edits(words: Infotext) -> bool:
    return "[" in words.prompt or "[" in words.negative_prompt


def _is_timestep_sampler(words: Infotext) -> bool:
    return words.pairs.get("Sampler") in ("DDIM", "PLMS")


def _always(words: Infotext) -> bool:
    del words
    return True


BACKCOMPAT_RULES: tuple[BackcompatRule, ...] = (
    BackcompatRule((1, 6, 0, 0), _edits, "Old prompt editing timelines", "True"),
    BackcompatRule((1, 6, 0, 0), _is_timestep_sampler, "Pad conds v0", "True"),
    BackcompatRule((1, 7, 0, 225), _always, "Downcast alphas_cumprod", "True"),
)


def backcompat_pairs(infotext: Infotext) -> dict[str, str]:
    """Return the pairs that an A1111 infotext of its version takes for granted."""
    version = parse_version(infotext.pairs.get("Version", ""))
    if version is None:
        return {}
    found = (row for row in BACKCOMPAT_RULES if version < row.before and row.matches(infotext))
    return {row.key: row.value for row in found}


def convert_first_pass_size(pairs: Pairs) -> dict[str, str]:
    """Return Size and Hires resize of a text whose Size was the final one and which tells its first pass besides.

    Raises:
        ValueError: a size is none.
    """
    if "First pass size" not in pairs or "Size" not in pairs:
        return {}
    width, height = parse_size(pairs["Size"])
    first_width, first_height = parse_size(pairs["First pass size"])
    if not (first_width and first_height):
        shrink = math.sqrt(_FIRST_PASS_AREA / max(1, width * height))
        first_width = math.ceil(shrink * width / 64) * 64
        first_height = math.ceil(shrink * height / 64) * 64
    return {"Size": f"{first_width}x{first_height}", "Hires resize": f"{width}x{height}"}
