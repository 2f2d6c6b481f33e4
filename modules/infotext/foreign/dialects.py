"""Who wrote an infotext, and what its words are in A1111's: one row each."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace

from modules.core.registry import Registry
from modules.core.version import NAME
from modules.infotext.foreign.a1111_history import backcompat_pairs, convert_first_pass_size
from modules.infotext.foreign.sampler_names import to_a1111_sampler, to_a1111_schedule
from modules.infotext.text_format import Infotext
from modules.sampling.lookup import split_sampler_name
from modules.sampling.samplers import Sampler
from modules.sampling.schedules import Schedule

OURS = NAME  # what the key App begins with in our own texts
_OTHER_SAMPLING = (
    "{} has samplers and prompt weights of its own; the picture comes out similar at best."
)


@dataclass(frozen=True)
class Dialect:
    """One row of DIALECTS.

    Args:
        name: The program.
        matches: Whether a text is this program's.
        key_aliases: Its keys that mean one of A1111's, by their names.
        default_pairs: What its texts take for granted, where that is not what A1111's do.
        warning: What differs whatever the text says; "" when nothing does.
    """

    name: str
    matches: Callable[[Infotext], bool]
    key_aliases: Mapping[str, str] = field(default_factory=dict[str, str])
    default_pairs: Mapping[str, str] = field(default_factory=dict[str, str])
    warning: str = ""


def _origin(name: str) -> Callable[[Infotext], bool]:
    return lambda words: words.origin == name


def _version(start: str) -> Callable[[Infotext], bool]:
    return lambda words: words.pairs.get("Version", "").startswith(start)


def _app(start: str) -> Callable[[Infotext], bool]:
    return lambda words: words.pairs.get("App", "").startswith(start)


def _anyones(words: Infotext) -> bool:
    del words
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

# The first row whose text it is counts; the last one takes all others.
DIALECTS: tuple[Dialect, ...] = (
    Dialect("ComfyUI", _origin("ComfyUI"), default_pairs={"RNG": "CPU"}, warning=_OTHER_SAMPLING),
    Dialect("InvokeAI", _origin("InvokeAI"), default_pairs={"RNG": "CPU"}, warning=_OTHER_SAMPLING),
    Dialect("SwarmUI", _origin("SwarmUI"), default_pairs={"RNG": "CPU"}, warning=_OTHER_SAMPLING),
    Dialect(
        "NovelAI",
        _origin("NovelAI"),
        default_pairs={"Clip skip": "2", "ENSD": "31337"},  # as A1111 reads its pictures
        warning="In {} braces weigh words; here they are text.",
    ),
    Dialect("SD.Next", _app("SD.Next"), _SDNEXT_KEYS, warning=_OTHER_SAMPLING),
    Dialect("Fooocus", _version("Fooocus"), _FOOOCUS_KEYS, {"RNG": "CPU"}, _OTHER_SAMPLING),
    Dialect("this WebUI", _app(OURS)),
    Dialect("Forge", _version("f"), _A1111_KEYS),
    Dialect("A1111", _anyones, _A1111_KEYS),
)


def detect_dialect(infotext: Infotext) -> Dialect:
    """Return the row of a text."""
    return next(row for row in DIALECTS if row.matches(infotext))


def describe_origin(infotext: Infotext) -> str:
    """Return the program and, where it is told, its version: "A1111 v1.10.1"."""
    row = detect_dialect(infotext)
    version = infotext.pairs.get("Version") or infotext.pairs.get("App", "").rpartition(" ")[2]
    version = version.removeprefix("Fooocus").strip()
    return f"{row.name} {version}".strip() if version != row.name else row.name


def convert_to_a1111(
    infotext: Infotext, samplers: Registry[Sampler], schedules: Registry[Schedule]
) -> Infotext:
    """Return the words with A1111 1.10's keys and names, and with what the dialect takes for granted."""
    row = detect_dialect(infotext)
    pairs = {row.key_aliases.get(key, key): value for key, value in infotext.pairs.items()}
    if row.name == "A1111":
        pairs = {**backcompat_pairs(infotext), **pairs}
    warnings = [*infotext.warnings, *([row.warning.format(row.name)] if row.warning else [])]
    try:
        pairs |= convert_first_pass_size(pairs)
    except ValueError:
        warnings.append(f"First pass size ({pairs['First pass size']}) is no size; it is left out.")
    pairs.pop("First pass size", None)
    pairs = {**row.default_pairs, **pairs}
    for sampler, schedule in (
        ("Sampler", "Schedule type"),
        ("Hires sampler", "Hires schedule type"),
    ):
        pairs |= _sampling(pairs, (sampler, schedule), samplers.names(), schedules.names())
    if "Sampler" in pairs:
        pairs.setdefault("Schedule type", "Automatic")
    return replace(infotext, pairs=pairs, warnings=tuple(warnings))


def _sampling(
    pairs: Mapping[str, str],
    keys: tuple[str, str],
    samplers: Collection[str],
    schedules: Collection[str],
) -> dict[str, str]:
    """Return sampler and schedule, each on its own: "DPM++ 2M Karras" of old holds both."""
    sampler_key, schedule_key = keys
    found: dict[str, str] = {}
    if schedule_key in pairs:
        found[schedule_key] = to_a1111_schedule(pairs[schedule_key])
    if sampler_key not in pairs:
        return found
    name, schedule = to_a1111_sampler(pairs[sampler_key])
    if name not in samplers:
        name, held = split_sampler_name(name, samplers, schedules)
        schedule = held or schedule
    found[sampler_key] = name
    if schedule and found.get(schedule_key, "Automatic") == "Automatic":
        found[schedule_key] = schedule
    return found
