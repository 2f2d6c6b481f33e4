"""Environment variables of the server process."""

from __future__ import annotations

from modules.launch.environment import ENV_DEFAULTS, set_env_defaults


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
