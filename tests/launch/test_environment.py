"""Environment variables of the server process."""

from __future__ import annotations

import os
import ssl
import subprocess
import sys
from pathlib import Path

import pytest

from modules.launch.environment import ENV_DEFAULTS, drop_client_variables, set_env_defaults

ROOT = Path(__file__).parents[2]


def test_defaults_turn_off_telemetry_and_model_hub():
    env: dict[str, str] = {}
    set_env_defaults(env)
    assert ENV_DEFAULTS.items() <= env.items()
    assert env["NO_PROXY"] == env["no_proxy"] == "localhost,127.0.0.1,::1"


def test_variables_of_the_user_are_kept():
    env = {"HF_HUB_OFFLINE": "0", "no_proxy": "intranet, localhost"}
    set_env_defaults(env)
    assert env["HF_HUB_OFFLINE"] == "0"
    assert env["NO_PROXY"] == env["no_proxy"] == "intranet,localhost,127.0.0.1,::1"


def test_applying_twice_changes_nothing():
    env = {"NO_PROXY": "intranet"}
    set_env_defaults(env)
    once = dict(env)
    set_env_defaults(env)
    assert env == once


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("all_proxy", "socks5://127.0.0.1:1080"),
        ("ALL_PROXY", "socks://127.0.0.1:7890/"),
        ("https_proxy", "socks5h://user:secret@proxy:1080"),
        ("HTTP_PROXY", "http://[::1"),
        ("http_proxy", "ftp://proxy"),
        ("SSL_CERT_FILE", "/nowhere/cacert.pem"),
        ("SSL_CERT_FILE", __file__),
        ("SSL_CERT_FILE", ""),
        ("SSL_CERT_DIR", "\0"),
        ("SSLKEYLOGFILE", "/nowhere/keys.log"),
    ],
)
def test_variables_that_no_http_client_can_be_made_with_are_dropped(name: str, value: str):
    env = {name: value, "no_proxy": "fd00::/8,[::1],localhost:1", "PATH": "/bin"}
    drop_client_variables(env)
    assert env == {"no_proxy": "*", "NO_PROXY": "*", "PATH": "/bin"}


def test_certificates_that_exist_are_kept(tmp_path: Path):
    bundle = next(
        (path for path in (ssl.get_default_verify_paths().cafile, "/etc/ssl/cert.pem") if path), ""
    )
    env = {"SSL_CERT_DIR": str(tmp_path), "SSLKEYLOGFILE": str(tmp_path / "keys")}
    if Path(bundle).is_file():
        env["SSL_CERT_FILE"] = bundle
    before = dict(env)
    drop_client_variables(env)
    assert before.items() <= env.items()


def test_gradio_is_imported_with_variables_for_other_programs(tmp_path: Path):
    env = {
        **os.environ,
        "all_proxy": "socks5://127.0.0.1:1080",
        "ALL_PROXY": "socks://127.0.0.1:7890/",
        "no_proxy": "fd00::/8,[::1],127.0.0.1:x",
        "SSL_CERT_FILE": "/nowhere/cacert.pem",
        "SSLKEYLOGFILE": "/nowhere/keys.log",
    }
    code = (
        "import pathlib\n"
        "from modules.app import prepare_environment\n"
        "from modules.core.paths import Paths\n"
        f"prepare_environment(Paths(pathlib.Path('.'), pathlib.Path({str(tmp_path)!r})))\n"
        "import gradio, httpx\n"
        "httpx.Client(), httpx.AsyncClient()"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
