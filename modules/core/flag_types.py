"""How a flag of the command line is declared, and the types of values for argparse: each parses a text or raises an error with the reason."""

from __future__ import annotations

import argparse
import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)

# The values of the option `memory_policy` that flags ask for; the first flag that is given counts.
MEMORY_POLICIES = {
    "lowvram": "UNet in blocks",
    "medvram": "Idle parts off the device",
    "medvram_sdxl": "Idle parts off the device for SDXL",
}
# Likewise those of `cross_attention_optimization`.
ATTENTIONS = {"xformers": "xformers", "opt_sdp_no_mem_attention": "sdp-no-mem"}
OPTION_FLAGS = {"memory_policy": MEMORY_POLICIES, "cross_attention_optimization": ATTENTIONS}
# The values of the option `accelerator` by those of the flag.
ACCELERATORS = {"openvino": "OpenVINO"}
MAX_LOADED_CHECKPOINTS = 10


def user_path(text: str) -> Path:
    """Return a path with `~` expanded."""
    return Path(text).expanduser()


def port(text: str) -> int:
    """Return a port number, 1 to 65535."""
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise argparse.ArgumentTypeError(f"'{text}' is not a port; ports go from 1 to 65535")
    return int(text)


def checkpoint_count(text: str) -> int:
    """Return how many checkpoints may stay loaded."""
    if not text.isdecimal() or not 0 < int(text) <= MAX_LOADED_CHECKPOINTS:
        raise argparse.ArgumentTypeError(
            f"'{text}' is not a number of checkpoints; 1 to {MAX_LOADED_CHECKPOINTS} may stay loaded"
        )
    return int(text)


def gigabytes(text: str) -> float:
    """Return a size in gigabytes, 0 to 10000."""
    try:
        size = float(text)
    except ValueError:
        size = -1.0
    if not 0 <= size <= 10_000:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of gigabytes; write 20, or 0")
    return size


def gpu_index(text: str) -> int:
    """Return the index of a GPU."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"'{text}' is not the number of a GPU; the first is 0")
    return int(text)


def devices(text: str) -> tuple[str, ...]:
    """Return devices from a text like "cuda:0,cuda:1", "cpu,cpu" or "all"."""
    names = tuple(name.strip().lower() for name in text.split(",") if name.strip())
    for name in names:
        if not re.fullmatch(r"all|cpu|mps|(cuda|xpu):\d{1,3}", name):
            raise argparse.ArgumentTypeError(
                f"'{name}' is no device; write cuda:0,cuda:1 for two cards, cpu, or all"
            )
        if name != "cpu" and names.count(name) > 1:
            raise argparse.ArgumentTypeError(f"'{name}' is named twice")
    if not names or ("all" in names and len(names) > 1):
        raise argparse.ArgumentTypeError(f"'{text}' is no list of devices; all stands alone")
    return names


def processor_count(text: str) -> int:
    """Return how many processors a worker has."""
    if not text.isdecimal() or not 0 < int(text) <= 1024:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of processors, 1 to 1024")
    return int(text)


def regex(text: str) -> str:
    """Return the text if it is a valid regular expression."""
    try:
        re.compile(text)
    except re.error as error:
        raise argparse.ArgumentTypeError(f"'{text}' is not a regular expression: {error}") from None
    return text


def subpath(text: str) -> str:
    """Return a URL path without leading and trailing slashes."""
    path = text.strip("/")
    if not re.fullmatch(r"[\w.~-]+(/[\w.~-]+)*", path, re.ASCII):
        raise argparse.ArgumentTypeError(f"'{text}' is not a path; write it like sd or tools/sd")
    return path


def chosen_options(flags: Mapping[str, Any]) -> dict[str, str]:
    """Return the options that flags choose a value of; "" where none of its flags is given. Any: values of all types."""
    values = {
        option: next((value for flag, value in choices.items() if flags[flag]), "")
        for option, choices in OPTION_FLAGS.items()
    }
    if flags["xformers"] and find_spec("xformers") is None:
        logger.warning("--xformers has no effect: the package xformers is not installed.")
        values["cross_attention_optimization"] = ""
    return values


@dataclass(frozen=True)
class Flag:
    """One flag as shown by `--help`; its name and default are those of its field in `Flags`."""

    group: str
    help: str
    type: Callable[[str], object] | None = None
    choices: tuple[str, ...] | None = None
    nargs: str | None = None
    metavar: str | None = None
    action: str | None = None


# Any: returns a dataclass field where the declared type is expected, as dataclasses.field() does.
def flag(default: object, group: str, help: str, *, secret: bool = False, **details: Any) -> Any:
    """Declare one flag: a switch if `default` is False, else a flag with a value.

    Args:
        default: The value without the flag.
        group: One of GROUPS.
        help: What the flag does, for `--help`.
        secret: Whether the value is hidden in logs.
        details: Further fields of `Flag`.
    """
    row = Flag(group, help, **details)
    return field(default=default, repr=not secret, metadata={"flag": row})


def folder_flag(help: str) -> Any:
    """Declare a flag whose value is a folder, None without it; like `flag` it is field()."""
    return flag(None, "Folders", help, type=user_path, metavar="FOLDER")
