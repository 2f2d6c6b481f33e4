"""Dialects: detects the program that wrote an infotext and converts its keys and names to A1111's; one row each."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace

from modules.core.registry import Registry
from modules.core.version import NAME
from modules.infotext.foreign.a1111_history import backcompat_pairs, convert_first_pass_size
from modules.infotext.foreign.sampler_names import to_a1111_sampler, to_a1111_schedule
from modules.infotext.text_format import Infotext
from modules.sampling.lookup import split_sampler_name
from modules.sampling.samplers import Sampler
from modules.sampling.schedules import Schedule

_OTHER_SAMPLING = "{} has its own samplers and prompt weights; the picture will be similar at best."


@dataclass(frozen=True)
class Dialect:
    """One row of DIALECTS.

    Args:
        name: The program.
        matches: Returns whether this program wrote an infotext.
        key_aliases: A1111's keys by the program's own keys.
        default_pairs: Pairs that its infotexts imply, where they differ from A1111's defaults.
        warning: A sentence about a difference that always applies; "" for none.
    """

    name: str
    matches: Callable[[Infotext], bool]
    key_aliases: Mapping[str, str] = field(default_factory=dict[str, str])
    default_pairs: Mapping[str, str] = field(default_factory=dict[str, str])
    warning: str = ""


def _has_origin(name: str) -> Callable[[Infotext], bool]:
    return lambda infotext: infotext.origin == name


def _has_version(prefix: str) -> Callable[[Infotext], bool]:
    return lambda infotext: infotext.pairs.get("Version", "").startswith(prefix)


def _has_app(prefix: str) -> Callable[[Infotext], bool]:
    return lambda infotext: infotext.pairs.get("App", "").startswith(prefix)


def _always(infotext: Infotext) -> bool:
    del infotext
    return True


_A1111_KEYS = {
    "Beta scheduler alpha": "Beta schedule alpha",  # A1111 writes one spelling and reads the other
    "Beta scheduler beta": "Beta schedule beta",
    "Variation strength": "Variation seed strength",
}
_SDNEXT_KEYS = {
    "CLiP-skip": "Clip skip",
    "CLIP skip": "Clip skip",
    "Scheduler": "Sampler",
    "Hires scale": "Hires upscale",
    "Hires fixed": "Hires resize",
    "Hires strength": "Denoising strength",
    "Hires second pass steps": "Hires steps",
    "Variation strength": "Variation seed strength",
    "Mask weight": "Conditional mask weight",
    "Sampler eta delta": "ENSD",
    "Sampler eta multiplier": "Noise multiplier",
}
_FOOOCUS_KEYS = {"Scheduler": "Schedule type"}

# The first row that matches is used; the last one matches everything.
DIALECTS: tuple[Dialect, ...] = (
    Dialect(
        "ComfyUI", _has_origin("ComfyUI"), default_pairs={"RNG": "CPU"}, warning=_OTHER_SAMPLING
    ),
    Dialect(
        "InvokeAI", _has_origin("InvokeAI"), default_pairs={"RNG": "CPU"}, warning=_OTHER_SAMPLING
    ),
    Dialect(
        "SwarmUI", _has_origin("SwarmUI"), default_pairs={"RNG": "CPU"}, warning=_OTHER_SAMPLING
    ),
    Dialect(
        "NovelAI",
        _has_origin("NovelAI"),
        default_pairs={"Clip skip": "2", "ENSD": "31337"},  # as A1111 reads NovelAI's images
        warning="In {}, braces set prompt weights; here they are plain text.",
    ),
    Dialect("SD.Next", _has_app("SD.Next"), _SDNEXT_KEYS, warning=_OTHER_SAMPLING),
    Dialect("Fooocus", _has_version("Fooocus"), _FOOOCUS_KEYS, {"RNG": "CPU"}, _OTHER_SAMPLING),
    Dialect("this WebUI", _has_app(NAME)),
    Dialect("Forge", _has_version("f"), _A1111_KEYS),
    Dialect("A1111", _always, _A1111_KEYS),
)


def detect_dialect(infotext: Infotext, dialects: Iterable[Dialect]) -> Dialect:
    """Return the dialect of an infotext; the last one matches everything."""
    return next(row for row in dialects if row.matches(infotext))


def describe_origin(infotext: Infotext, dialect: Dialect) -> str:
    """Return the program and, if known, its version: "A1111 v1.10.1"."""
    version = infotext.pairs.get("Version") or infotext.pairs.get("App", "").rpartition(" ")[2]
    version = version.removeprefix("Fooocus").strip()
    return f"{dialect.name} {version}".strip() if version != dialect.name else dialect.name


def convert_to_a1111(
    infotext: Infotext,
    dialect: Dialect,
    samplers: Registry[Sampler],
    schedules: Registry[Schedule],
) -> Infotext:
    """Return the infotext with A1111 1.10's keys and names, and with the pairs that its dialect implies."""
    pairs = {dialect.key_aliases.get(key, key): value for key, value in infotext.pairs.items()}
    if dialect.name == "A1111":
        pairs = {**backcompat_pairs(infotext), **pairs}
    warnings = [
        *infotext.warnings,
        *([dialect.warning.format(dialect.name)] if dialect.warning else []),
    ]
    try:
        pairs |= convert_first_pass_size(pairs)
    except ValueError:
        warnings.append(
            f"First pass size ({pairs['First pass size']}) is not a size; it is ignored."
        )
    pairs.pop("First pass size", None)
    pairs = {**dialect.default_pairs, **pairs}
    for sampler_key, schedule_key in (
        ("Sampler", "Schedule type"),
        ("Hires sampler", "Hires schedule type"),
    ):
        pairs |= _sampling_pairs(
            pairs, (sampler_key, schedule_key), samplers.names(), schedules.names()
        )
    if "Sampler" in pairs:
        pairs.setdefault("Schedule type", "Automatic")
    return replace(infotext, pairs=pairs, warnings=tuple(warnings))


def _sampling_pairs(
    pairs: Mapping[str, str],
    keys: tuple[str, str],
    samplers: Collection[str],
    schedules: Collection[str],
) -> dict[str, str]:
    """Return sampler and schedule as two pairs: older names such as "DPM++ 2M Karras" contain both."""
    sampler_key, schedule_key = keys
    converted: dict[str, str] = {}
    if schedule_key in pairs:
        converted[schedule_key] = to_a1111_schedule(pairs[schedule_key])
    if sampler_key not in pairs:
        return converted
    name, schedule = to_a1111_sampler(pairs[sampler_key])
    if name not in samplers:
        name, suffix = split_sampler_name(name, samplers, schedules)
        schedule = suffix or schedule
    converted[sampler_key] = name
    if schedule and converted.get(schedule_key, "Automatic") == "Automatic":
        converted[schedule_key] = schedule
    return converted
