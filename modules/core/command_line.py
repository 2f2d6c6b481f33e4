"""The parser of the command line and its help, made from the fields of `Flags`."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import Field, fields
from typing import Any, NoReturn

from modules.core.a1111_flags import IGNORED_FLAGS, REFUSED_FLAGS, IgnoredFlags
from modules.core.credentials import parse_credentials
from modules.core.errors import UserError
from modules.core.flag_types import Flag
from modules.core.flags import GROUPS, Flags

HIDDEN: dict[str, Any] = {"default": argparse.SUPPRESS, "help": argparse.SUPPRESS}


def parse_flags(
    argv: Sequence[str],
    flags_class: type[Flags] = Flags,
    ignored_flags: Iterable[IgnoredFlags] = IGNORED_FLAGS,
) -> Flags:
    """Return the flags of a command line without the program's name.

    Args:
        argv: The command line.
        flags_class: Declares the flags.
        ignored_flags: Flags that are accepted without effect.

    Raises:
        UserError: a flag is unknown, refused, or has an invalid value.
        SystemExit: `--help` is among the flags and has been printed.
    """
    own_arguments, pytest_arguments = _split_at_run_tests(argv)
    parser = _make_parser(flags_class, ignored_flags)
    namespace, unknown = parser.parse_known_args(own_arguments)
    if unknown:
        raise _unknown_flag_error(unknown[0], flags_class)
    # Any: argparse has no types; each flag's `type` and `choices` have validated the values.
    parsed: dict[str, Any] = vars(namespace)
    for name, reason in REFUSED_FLAGS.items():
        if name in parsed:
            raise UserError(f"{name} {reason}.")
    values = {
        declared.name: parsed[declared.name]
        for declared in fields(flags_class)
        if declared.name in parsed
    }
    values.update(
        gradio_allowed_path=tuple(parsed["gradio_allowed_path"] or ()),
        run_tests=pytest_arguments,
        use_cpu=parsed["use_cpu"] is not None,
        notes=_ignored_flag_notes(parsed, ignored_flags),
    )
    flags = flags_class(**values)
    if flags.no_api and (flags.api or flags.nowebui):
        other = "--nowebui" if flags.nowebui else "--api"
        raise UserError(f"--no-api and {other} contradict each other.", "Remove one of them.")
    if flags.devices and flags.ray:
        raise UserError("--devices and --ray contradict each other.", "Remove one of them.")
    parse_credentials(flags.gradio_auth or "", "--gradio-auth")
    flags.api_credentials()
    return flags


# argparse.REMAINDER would parse `--` and our own flags among the arguments for pytest.
def _split_at_run_tests(argv: Sequence[str]) -> tuple[list[str], tuple[str, ...] | None]:
    if "--run-tests" not in argv:
        return list(argv), None
    index = list(argv).index("--run-tests")
    return list(argv[:index]), tuple(argv[index + 1 :])


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Raise the message that argparse would print, so that the caller decides how to exit."""
        raise UserError(f"The command line cannot be read: {message}.", "--help lists every flag.")


def _make_parser(
    flags_class: type[Flags], ignored_flags: Iterable[IgnoredFlags]
) -> argparse.ArgumentParser:
    parser = _Parser(
        usage="./webui.sh [flags]",
        description="Stable Diffusion WebUI. Flags can also be set in COMMANDLINE_ARGS.",
        epilog="Other flags of A1111's WebUI are accepted where this version does not need them.",
        allow_abbrev=False,
        formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=34, width=98),
    )
    groups = {name: parser.add_argument_group(name) for name in GROUPS}
    for declared in fields(flags_class):
        if "flag" in declared.metadata:
            _add_flag(groups[declared.metadata["flag"].group], declared)
    for ignored in ignored_flags:
        for name in ignored.names.split():
            _add_hidden_flag(parser, name, ignored.takes_value)
    for name in REFUSED_FLAGS:
        parser.add_argument(name, dest=name, nargs="?", const="", **HIDDEN)
    return parser


def _add_flag(group: Any, declared: Field[Any]) -> None:
    row: Flag = declared.metadata["flag"]
    details: dict[str, Any] = {"default": declared.default, "help": row.help}
    if declared.default is False and row.nargs is None:
        details.update(action="store_true")
    else:
        details.update(type=row.type, choices=row.choices, nargs=row.nargs, metavar=row.metavar)
    if row.action:
        details.update(action=row.action)
    if row.nargs or row.action:
        details["default"] = None
    group.add_argument(_flag_name(declared.name), dest=declared.name, **details)


def _add_hidden_flag(parser: argparse.ArgumentParser, name: str, takes_value: bool) -> None:
    """Add a flag that is in the namespace, under its own name, only if it is used."""
    if takes_value:
        parser.add_argument(name, dest=name, **HIDDEN)
    else:
        parser.add_argument(name, dest=name, action="store_true", **HIDDEN)


def _ignored_flag_notes(
    parsed: Mapping[str, Any], ignored_flags: Iterable[IgnoredFlags]
) -> tuple[str, ...]:
    return tuple(
        f"{name} is accepted, but has no effect: {ignored.reason}."
        for ignored in ignored_flags
        for name in ignored.names.split()
        if name in parsed
    )


def _flag_name(field_name: str) -> str:
    return "--" + field_name.replace("_", "-")


def _unknown_flag_error(argument: str, flags_class: type[Flags]) -> UserError:
    name = argument.partition("=")[0]
    if not name.startswith("-"):
        return UserError(f"'{argument}' belongs to no flag.", "--help lists every flag.")
    known = [
        _flag_name(declared.name) for declared in fields(flags_class) if "flag" in declared.metadata
    ]
    nearest = difflib.get_close_matches(name, known, n=1)
    guess = f" Did you mean {nearest[0]}?" if nearest else ""
    return UserError(f"There is no flag {name}.{guess}", "--help lists every flag.")
