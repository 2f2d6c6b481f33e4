"""The command line: one frozen `Flags` from which the parser, its help and its errors are made."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, NoReturn

from modules.core import flag_types
from modules.core.a1111_flags import IGNORED_FLAGS, REFUSED_FLAGS
from modules.core.errors import UserError

HIDDEN: dict[str, Any] = {"default": argparse.SUPPRESS, "help": argparse.SUPPRESS}
# Options that a flag chooses for one run: the option's name and the flag's field.
SETTING_FLAGS = {"sd_model_checkpoint": "ckpt", "sd_checkpoints_limit": "sd_checkpoints_limit"}
GROUPS = ("Server", "Folders", "Models", "Page", "Setting up")


@dataclass(frozen=True)
class Flag:
    """One flag as `--help` shows it; its name and default are those of the field it stands on."""

    group: str
    help: str
    type: Callable[[str], object] | None = None
    choices: tuple[str, ...] | None = None
    nargs: str | None = None
    metavar: str | None = None
    action: str | None = None


# Any: a dataclass field stands where the declared type is expected, as in dataclasses.field().
def flag(default: object, group: str, help: str, *, secret: bool = False, **details: Any) -> Any:
    """Declare one flag: a switch when `default` is False, else a flag that takes a value.

    Args:
        default: The value without the flag.
        group: One of GROUPS.
        help: What the flag does, for `--help`.
        secret: Whether the value is kept out of logs.
        details: Further fields of `Flag`.
    """
    row = Flag(group, help, **details)
    return field(default=default, repr=not secret, metadata={"flag": row})


@dataclass(frozen=True)
class Credential:
    """A name and a password that open the door."""

    user: str
    password: str = field(repr=False)


@dataclass(frozen=True)
class Flags:
    """What the command line asked for. Names and meanings are those of A1111's WebUI."""

    port: int | None = flag(
        None,
        "Server",
        "port to serve on; without it 7860 or the next free one",
        type=flag_types.port,
    )
    listen: bool = flag(False, "Server", "serve the whole network; a password is then required")
    server_name: str | None = flag(None, "Server", "address to serve on", metavar="ADDRESS")
    gradio_auth: str | None = flag(
        None,
        "Server",
        "who may enter; several with commas between",
        metavar="USER:PASSWORD",
        secret=True,
    )
    gradio_auth_path: Path | None = flag(  # noqa: RUF009  flag() is field()
        None,
        "Server",
        "file with lines of USER:PASSWORD",
        type=flag_types.user_path,
        metavar="FILE",
        secret=True,
    )
    api_auth: str | None = flag(
        None, "Server", "who else may use the HTTP API", metavar="USER:PASSWORD", secret=True
    )
    api: bool = flag(False, "Server", "serve the HTTP API beside the page, which is the default")
    no_api: bool = flag(False, "Server", "serve the page alone, without the HTTP API")
    nowebui: bool = flag(False, "Server", "serve the HTTP API alone, without the page")
    cors_allow_origins: str | None = flag(
        None,
        "Server",
        "web pages that may call the HTTP API from a browser; several with commas between",
        metavar="ORIGINS",
    )
    cors_allow_origins_regex: str | None = flag(
        None,
        "Server",
        "the same as one regular expression",
        type=flag_types.regex,
        metavar="PATTERN",
    )
    subpath: str | None = flag(
        None,
        "Server",
        "path below which a reverse proxy shows the server",
        type=flag_types.subpath,
        metavar="PATH",
    )
    api_log: bool = flag(False, "Server", "log every request")
    api_server_stop: bool = flag(False, "Server", "let the HTTP API stop the server")
    loglevel: Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"] = flag(
        "INFO",
        "Server",
        "how much the log tells",
        type=str.upper,
        choices=("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"),
    )

    data_dir: Path | None = flag(  # noqa: RUF009  flag() is field()
        None,
        "Folders",
        "where models, outputs and settings lie",
        type=flag_types.user_path,
        metavar="FOLDER",
    )
    ckpt_dir: Path | None = flag(  # noqa: RUF009  flag() is field()
        None,
        "Folders",
        "a further folder with checkpoints",
        type=flag_types.user_path,
        metavar="FOLDER",
    )
    gradio_allowed_path: tuple[Path, ...] = flag(
        (),
        "Folders",
        "a further folder whose pictures a batch may read; may be given more than once",
        type=flag_types.user_path,
        metavar="FOLDER",
        action="append",
    )

    ckpt: str | None = flag(
        None,
        "Models",
        "checkpoint to load at start: its name in the list, or its path in one of the folders",
        metavar="NAME",
    )
    sd_checkpoints_limit: int | None = flag(
        None,
        "Models",
        "how many checkpoints may stay loaded",
        type=flag_types.checkpoint_count,
        metavar="NUMBER",
    )
    device_id: int | None = flag(
        None, "Models", "number of the GPU to use", type=flag_types.gpu_index, metavar="NUMBER"
    )
    use_cpu: bool = flag(
        False, "Models", "work on the CPU; any value means the same", nargs="*", metavar="all"
    )
    no_half: bool = flag(False, "Models", "work in 32-bit floats")
    precision: Literal["full", "half", "autocast"] = flag(
        "autocast",
        "Models",
        "full is the same as --no-half; the others let the device decide",
        choices=("full", "half", "autocast"),
    )

    theme: Literal["light", "dark"] | None = flag(
        None,
        "Page",
        "colours of the page; without it those of the browser",
        choices=("light", "dark"),
    )
    autolaunch: bool = flag(False, "Page", "open the page in the browser when it is up")

    exit: bool = flag(False, "Setting up", "end after the set-up")
    skip_prepare_environment: bool = flag(False, "Setting up", "start without checking any package")
    skip_install: bool = flag(False, "Setting up", "install nothing; check the rest")
    skip_python_version_check: bool = flag(False, "Setting up", "accept any Python")
    skip_torch_cuda_test: bool = flag(False, "Setting up", "do not try the GPU after installing")
    reinstall_torch: bool = flag(
        False, "Setting up", "choose and install PyTorch again, as after a change of GPU"
    )
    run_tests: tuple[str, ...] | None = flag(
        None,
        "Setting up",
        "run the tests; all that follows goes to pytest",
        nargs=argparse.REMAINDER,
        metavar="...",
    )

    notes: tuple[str, ...] = ()

    @property
    def host(self) -> str:
        """The address to bind."""
        return self.server_name or ("0.0.0.0" if self.listen else "127.0.0.1")

    @property
    def root_path(self) -> str:
        """The path of `--subpath` with a slash before it, or nothing."""
        return f"/{self.subpath}" if self.subpath else ""

    @property
    def serves_api(self) -> bool:
        """Whether the HTTP API is served."""
        return not self.no_api

    @property
    def full_precision(self) -> bool:
        """Whether 32-bit floats were asked for."""
        return self.no_half or self.precision == "full"

    def redacted_dict(self) -> dict[str, Any]:
        """Return every flag by name, as JSON can hold it; of a secret only whether it was given."""
        found: dict[str, Any] = {}
        for row in fields(self):
            if "flag" in row.metadata:
                value = getattr(self, row.name)
                if not row.repr:
                    value = None if value is None else "given"
                found[row.name] = str(value) if isinstance(value, Path) else value
        return found

    def setting_overrides(self) -> dict[str, Any]:
        """Return the options that the command line chooses for this run, by name."""
        values = {name: getattr(self, flag) for name, flag in SETTING_FLAGS.items()}
        return {name: value for name, value in values.items() if value}

    def credentials(self) -> tuple[Credential, ...]:
        """Return who may enter, from `--gradio-auth` and the file of `--gradio-auth-path`.

        Raises:
            UserError: an entry is not USER:PASSWORD, or the file cannot be read.
        """
        given = parse_credentials(self.gradio_auth or "", "--gradio-auth")
        if self.gradio_auth_path is None:
            return given
        try:
            text = self.gradio_auth_path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(
                f"The file of --gradio-auth-path, {self.gradio_auth_path}, cannot be read: {error}."
            ) from error
        return given + parse_credentials(text.replace("\n", ","), "--gradio-auth-path")

    def api_credentials(self) -> tuple[Credential, ...]:
        """Return who else may use the HTTP API, from `--api-auth`."""
        return parse_credentials(self.api_auth or "", "--api-auth")


def parse_flags(argv: Sequence[str]) -> Flags:
    """Return the flags of a command line without the program's name.

    Raises:
        UserError: a flag is unknown, refused, or has a value it cannot take.
        SystemExit: `--help` was asked for and has been printed.
    """
    own, tests = _split_at_run_tests(argv)
    parsed, unknown = _make_parser().parse_known_args(own)
    if unknown:
        raise _unknown(unknown[0])
    # Any: argparse types nothing; each flag's `type` and `choices` have seen to the values.
    given: dict[str, Any] = vars(parsed)
    for name, why in REFUSED_FLAGS.items():
        if name in given:
            raise UserError(f"{name} {why}.")
    values = {row.name: given[row.name] for row in fields(Flags) if row.name in given}
    values.update(
        gradio_allowed_path=tuple(given["gradio_allowed_path"] or ()),
        run_tests=tests,
        use_cpu=given["use_cpu"] is not None,
        notes=_notes(given),
    )
    flags = Flags(**values)
    if flags.no_api and (flags.api or flags.nowebui):
        other = "--nowebui" if flags.nowebui else "--api"
        raise UserError(f"--no-api and {other} contradict each other.", "Leave one of them out.")
    parse_credentials(flags.gradio_auth or "", "--gradio-auth")
    flags.api_credentials()
    return flags


def parse_credentials(text: str, source: str) -> tuple[Credential, ...]:
    """Return the credentials in `user:password,user2:password2`; a password may hold colons."""
    found: list[Credential] = []
    for entry in split_commas(text):
        user, _, password = entry.partition(":")
        if not user or not password:
            raise UserError(
                f"An entry of {source} is not of the form USER:PASSWORD.",
                "Write it like --gradio-auth me:secret, several with commas between.",
            )
        found.append(Credential(user, password))
    return tuple(found)


def split_commas(text: str | None) -> tuple[str, ...]:
    """Return the words between the commas."""
    return tuple(entry.strip() for entry in (text or "").split(",") if entry.strip())


# argparse.REMAINDER would read `--` and flags of our own inside what belongs to pytest.
def _split_at_run_tests(argv: Sequence[str]) -> tuple[list[str], tuple[str, ...] | None]:
    if "--run-tests" not in argv:
        return list(argv), None
    at = list(argv).index("--run-tests")
    return list(argv[:at]), tuple(argv[at + 1 :])


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Raise what argparse would print, so that the caller decides how to end."""
        raise UserError(f"The command line cannot be read: {message}.", "--help lists every flag.")


def _make_parser() -> argparse.ArgumentParser:
    parser = _Parser(
        usage="./webui.sh [flags]",
        description="Stable Diffusion WebUI. Flags may also stand in COMMANDLINE_ARGS.",
        epilog="Further flags of A1111's WebUI are accepted where this version needs none.",
        allow_abbrev=False,
        formatter_class=lambda prog: argparse.HelpFormatter(prog, max_help_position=34, width=98),
    )
    groups = {name: parser.add_argument_group(name) for name in GROUPS}
    for declared in fields(Flags):
        if "flag" in declared.metadata:
            _add(groups[declared.metadata["flag"].group], declared)
    for row in IGNORED_FLAGS:
        for name in row.names.split():
            _add_hidden(parser, name, row.takes_value)
    for name in REFUSED_FLAGS:
        parser.add_argument(name, dest=name, nargs="?", const="", **HIDDEN)
    return parser


def _add(group: Any, declared: Field[Any]) -> None:
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


def _add_hidden(parser: argparse.ArgumentParser, name: str, takes_value: bool) -> None:
    """Add a flag that only leaves its own name behind when it is given."""
    if takes_value:
        parser.add_argument(name, dest=name, **HIDDEN)
    else:
        parser.add_argument(name, dest=name, action="store_true", **HIDDEN)


def _notes(given: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(
        f"{name} is accepted, but has no effect: {row.reason}."
        for row in IGNORED_FLAGS
        for name in row.names.split()
        if name in given
    )


def _flag_name(field_name: str) -> str:
    return "--" + field_name.replace("_", "-")


def _unknown(token: str) -> UserError:
    name = token.partition("=")[0]
    if not name.startswith("-"):
        return UserError(f"'{token}' stands alone on the command line.", "--help lists every flag.")
    known = [_flag_name(one.name) for one in fields(Flags) if "flag" in one.metadata]
    nearest = difflib.get_close_matches(name, known, n=1)
    guess = f" Did you mean {nearest[0]}?" if nearest else ""
    return UserError(f"There is no flag {name}.{guess}", "--help lists every flag.")
