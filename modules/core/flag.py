"""How one flag of the command line is declared: its group, its help and what its value is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from modules.core import flag_types


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
    return flag(None, "Folders", help, type=flag_types.user_path, metavar="FOLDER")
