"""Clones a git repository that nobody has looked at: no prompts, no hooks, no submodules, no links, no other protocols."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from modules.core.errors import UserError, WebUIError
from modules.core.text import escape
from modules.engine.downloads.web_proxy import WebProxy
from modules.engine.extensions.archive import check_folder

TIMEOUT_S = 300.0
_WATCH_S = 2.0
_FATAL = "fatal: "
# A name that begins with a dash would be an option, of git or of ssh.
_ADDRESS = re.compile(
    r"(?:https?|ssh)://[\w\[][^\s\x00-\x1f'\"<>`|\\^{}]*"
    r"|\w[\w.-]*@\w[\w.-]*:[\w~/][\w./~+-]*"
    r"|file:///[^\s\x00-\x1f'\"<>`|\\^{}]+"
)
_WEB_PROTOCOLS, _FILE_PROTOCOLS = ("http", "https", "ssh"), ("file",)
_CONFIG = (
    f"core.hooksPath={os.devnull}",
    "core.symlinks=false",
    "core.fsmonitor=false",
    "core.protectNTFS=true",
    "core.protectHFS=true",
    "credential.interactive=never",
    "submodule.recurse=false",
    "protocol.allow=never",
)


def check_address(address: str) -> str:
    """Return the address of a repository, without blanks around it; that of a path of this machine begins with file://.

    Raises:
        UserError: git would read something else in it than an address on the web, of ssh or of a file.
    """
    address = address.strip()
    if Path(address).is_absolute():
        address = Path(address).as_uri()
    if not _ADDRESS.fullmatch(address) or "::" in address.partition("://")[0]:
        raise UserError(
            f"'{address}' is no address of a git repository.",
            "It begins with https://, http://, ssh:// or file:///, reads user@host:path, or is a whole path.",
        )
    return address


def git_environment(environment: Mapping[str, str], proxy: WebProxy | None) -> dict[str, str]:
    """Return the variables for git: it asks for nothing, and uses the proxy of downloads.

    Args:
        environment: Of this process; what it has for git is left out, such as another folder.
        proxy: Of downloads.
    """
    kept = {
        name: value
        for name, value in environment.items()
        if not name.upper().startswith("GIT_") and not name.lower().endswith("_proxy")
    }
    if proxy is not None:
        kept |= {"https_proxy": proxy.url, "http_proxy": proxy.url, "no_proxy": proxy.exceptions}
    return {
        **kept,
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "",
        "SSH_ASKPASS": "",
        "SSH_ASKPASS_REQUIRE": "never",
        "GCM_INTERACTIVE": "never",
        "GIT_SSH_COMMAND": "ssh -o BatchMode=yes",
        "GIT_LFS_SKIP_SMUDGE": "1",
        "LC_ALL": "C",
    }


def clone(
    address: str, folder: Path, environment: Mapping[str, str], timeout_s: float = TIMEOUT_S
) -> None:
    """Clone a repository into a folder that does not exist.

    Args:
        address: As `check_address` returns it.
        folder: The target.
        environment: See `git_environment`.
        timeout_s: How long it may take.

    Raises:
        WebUIError: there is no git, it fails, it takes too long, or what it fetches is too large or holds a link.
    """
    git = shutil.which("git", path=environment.get("PATH"))
    if git is None:
        raise WebUIError(
            "Git is not installed, and it is what clones a repository.",
            "Install it from git-scm.com, or download the extension as a zip.",
        )
    # What is on the web never leads to a file of this machine.
    protocols = _FILE_PROTOCOLS if address.startswith("file:") else _WEB_PROTOCOLS
    allowed = (*_CONFIG, *(f"protocol.{name}.allow=always" for name in protocols))
    config = [word for one in allowed for word in ("-c", one)]
    options = ["--quiet", "--single-branch", "--no-recurse-submodules", "--template="]
    command = [git, *config, "clone", *options, "--", address, str(folder)]
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(  # the address has been checked
            command,
            env={**environment, "GIT_ALLOW_PROTOCOL": ":".join(protocols)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=errors,
            start_new_session=True,
        )
        try:
            _wait(process, folder, address, timeout_s)
        finally:
            _end(process)
        if process.returncode != 0:
            raise WebUIError(f"'{address}' cannot be cloned. {_first_reason(errors)}".strip())
    check_folder(folder)


def _wait(process: subprocess.Popen[bytes], folder: Path, address: str, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while True:
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(min(_WATCH_S, max(0.0, deadline - time.monotonic())))
            return
        if time.monotonic() >= deadline:
            raise WebUIError(
                f"'{address}' was not cloned within {timeout_s:g} s.",
                "Download it as a zip, or try again.",
            )
        with contextlib.suppress(OSError):  # git moves files while they are counted
            check_folder(folder)


def _end(process: subprocess.Popen[bytes]) -> None:
    """End git and what it has started, if they still run."""
    if process.poll() is not None:
        return
    with contextlib.suppress(OSError):
        if os.name == "nt":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _first_reason(errors: IO[bytes]) -> str:
    """Return what git gave up for; what follows it is advice, and what precedes it progress."""
    errors.seek(0)
    lines = errors.read(2**16).decode("utf-8", errors="replace").strip().splitlines()
    fatal = (line.removeprefix(_FATAL) for line in lines if line.startswith(_FATAL))
    line = next(fatal, lines[-1] if lines else "")
    return escape(f"{line.rstrip('.')}.") if line else ""
