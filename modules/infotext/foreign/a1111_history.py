"""Backward compatibility with older A1111 versions: the options that restore their behaviour.

A1111 1.10.1 applies the same rules (`infotext_versions`); an infotext without a version, or with another program's,
counts as current.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

from modules.infotext.codecs import Pairs, parse_size
from modules.infotext.text_format import Infotext

# Bounded digits: unbounded ones try every way to share a long number with what follows it.
_VERSION = re.compile(r"v?(\d{1,9})\.(\d{1,9})\.(\d{1,9})(?:-(\d{1,9})-g[0-9a-f]{1,64})?\S*")
# Older versions chose the first pass's size by its area.
_FIRST_PASS_AREA = 512 * 512
Version = tuple[int, int, int, int]  # the fourth: commits since the tag


@dataclass(frozen=True)
class BackcompatRule:
    """One row of BACKCOMPAT_RULES: matching infotexts of an older version are read as if they contained the pair."""

    before: Version
    matches: Callable[[Infotext], bool]
    key: str
    value: str


def parse_version(text: str) -> Version | None:
    """Return the parts of a version from `git describe`, such as "v1.6.0-2-g4afaaf8a"."""
    match = _VERSION.fullmatch(text.strip())
    if match is None:
        return None
    major, minor, patch, commits = (int(part or 0) for part in match.groups())
    return major, minor, patch, commits


def _has_prompt_editing(infotext: Infotext) -> bool:
    return "[" in infotext.prompt or "[" in infotext.negative_prompt


def _is_timestep_sampler(infotext: Infotext) -> bool:
    return infotext.pairs.get("Sampler") in ("DDIM", "PLMS")


def _always(infotext: Infotext) -> bool:
    del infotext
    return True


BACKCOMPAT_RULES: tuple[BackcompatRule, ...] = (
    BackcompatRule((1, 6, 0, 0), _has_prompt_editing, "Old prompt editing timelines", "True"),
    BackcompatRule((1, 6, 0, 0), _is_timestep_sampler, "Pad conds v0", "True"),
    BackcompatRule((1, 7, 0, 225), _always, "Downcast alphas_cumprod", "True"),
)


def backcompat_pairs(infotext: Infotext) -> dict[str, str]:
    """Return the pairs that an A1111 infotext of an older version implies."""
    version = parse_version(infotext.pairs.get("Version", ""))
    if version is None:
        return {}
    rules = (rule for rule in BACKCOMPAT_RULES if version < rule.before and rule.matches(infotext))
    return {rule.key: rule.value for rule in rules}


def convert_first_pass_size(pairs: Pairs) -> dict[str, str]:
    """Return today's Size and Hires resize for an old infotext with "First pass size", whose Size was the final one.

    Raises:
        ValueError: a value is not a size.
    """
    if "First pass size" not in pairs or "Size" not in pairs:
        return {}
    width, height = parse_size(pairs["Size"])
    first_width, first_height = parse_size(pairs["First pass size"])
    if not (first_width and first_height):
        scale = math.sqrt(_FIRST_PASS_AREA / max(1, width * height))
        first_width = math.ceil(scale * width / 64) * 64
        first_height = math.ceil(scale * height / 64) * 64
    return {"Size": f"{first_width}x{first_height}", "Hires resize": f"{width}x{height}"}
