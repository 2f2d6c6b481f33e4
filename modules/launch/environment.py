"""Environment variables of the server process: no telemetry, no model hub, no proxy."""

from __future__ import annotations

import os
import shlex
import ssl
from collections.abc import Mapping, MutableMapping
from pathlib import Path

from modules.core.errors import UserError

# Defaults; variables set by the user are kept.
ENV_DEFAULTS = {
    "GRADIO_ANALYTICS_ENABLED": "False",
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "DO_NOT_TRACK": "1",
    # Their warnings are about deliberate choices, such as the missing torchvision.
    "TRANSFORMERS_VERBOSITY": "error",
    "DIFFUSERS_VERBOSITY": "error",
    # Threads that spin while waiting take CPU time from the page on small machines.
    "OMP_WAIT_POLICY": "PASSIVE",
    # Operations that Apple's GPU does not support run on the CPU instead of failing.
    "PYTORCH_ENABLE_MPS_FALLBACK": "1",
}
# pip and downloads use them; the server connects to no other machine through one.
PROXY_VARIABLES = frozenset(
    f"{scheme}_proxy" for scheme in ("all", "ftp", "http", "https", "socks", "ws", "wss")
)
# `python -m modules` is found in the current folder, and the process ends with the server.
PATH_VARIABLES = ("PYTHONSAFEPATH", "PYTHONINSPECT")
# Where one Python has its standard library.
HOME_VARIABLES = ("PYTHONHOME", "PYTHONPLATLIBDIR", "PYTHONEXECUTABLE", "__PYVENV_LAUNCHER__")
LOOPBACK = ("localhost", "127.0.0.1", "::1")


def set_env_defaults(env: MutableMapping[str, str]) -> None:
    """Set the defaults in `env` and let loopback addresses bypass any proxy."""
    for name, value in ENV_DEFAULTS.items():
        env.setdefault(name, value)
    no_proxy = env.get("no_proxy") or env.get("NO_PROXY") or ""
    hosts = [host.strip() for host in no_proxy.split(",") if host.strip()]
    hosts += [host for host in LOOPBACK if host not in hosts]
    env["NO_PROXY"] = env["no_proxy"] = ",".join(hosts)


def split_variable(
    env: Mapping[str, str], name: str, *, windows: bool = os.name == "nt"
) -> list[str]:
    """Return the words of a variable that holds a command line; on Windows a backslash is part of a path.

    Raises:
        UserError: a quote in it is not closed, or it ends in the middle of a pair.
    """
    text = env.get(name, "")
    try:
        return shlex.split(text.replace("\\", "\\\\") if windows else text)
    except ValueError as error:
        problem = "has an open quote" if "quot" in str(error) else "ends with a backslash"
        raise UserError(
            f"{name} {problem}: {text}",
            f"Correct it in {'webui-user.bat' if windows else 'webui-user.sh'}, or where it is set, and start again.",
        ) from None


def drop_python_variables(env: MutableMapping[str, str], *, runs_in_venv: bool) -> None:
    """Remove from `env` what keeps a Python from starting this program.

    Args:
        env: The variables.
        runs_in_venv: Whether the program runs in another Python than this one, to which the variables belong.
    """
    for name in (*PATH_VARIABLES, *(HOME_VARIABLES if runs_in_venv else ())):
        env.pop(name, None)


def drop_client_variables(env: MutableMapping[str, str]) -> None:
    """Remove from `env` the variables for which Gradio's HTTP client cannot be made, and with it the page.

    That client is made at import. It supports neither SOCKS nor every form of `no_proxy`, and it reads the files that
    the variables of TLS name, whether they exist or not.
    """
    for name in [name for name in env if name.lower() in PROXY_VARIABLES]:
        del env[name]
    env["NO_PROXY"] = env["no_proxy"] = "*"  # nor those of the system's own settings
    for name, is_usable in (
        ("SSL_CERT_FILE", _is_certificate_file),
        ("SSL_CERT_DIR", _is_certificate_folder),
        ("SSLKEYLOGFILE", _can_append),
    ):
        if name in env and not is_usable(env[name]):
            del env[name]


def _is_certificate_file(path: str) -> bool:
    return _loads_certificates(path, None)


def _is_certificate_folder(path: str) -> bool:
    return _loads_certificates(None, path)


def _loads_certificates(cafile: str | None, capath: str | None) -> bool:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cafile, capath)
    except (OSError, ValueError):
        return False
    return True


def _can_append(path: str) -> bool:
    try:
        with Path(path).open("ab"):
            return True
    except (OSError, ValueError):
        return False
