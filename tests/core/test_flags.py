"""Command lines as users write them, including A1111's flags."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields
from importlib.util import find_spec
from pathlib import Path

import pytest

from modules.core.a1111_flags import IGNORED_FLAGS, REFUSED_FLAGS
from modules.core.command_line import parse_flags
from modules.core.credentials import Credential
from modules.core.errors import UserError
from modules.core.flags import GROUPS, Flags

IGNORED_NAMES = [(name, row.takes_value) for row in IGNORED_FLAGS for name in row.names.split()]


def declared_fields():
    return [field for field in fields(Flags) if "flag" in field.metadata]


def test_the_number_of_checkpoints_has_the_limit_of_the_setting():
    assert parse_flags(["--sd-checkpoints-limit", "3"]).sd_checkpoints_limit == 3
    with pytest.raises(UserError, match="'11' is not a number of checkpoints; 1 to 10"):
        parse_flags(["--sd-checkpoints-limit", "11"])


def test_an_empty_command_line_serves_loopback_only():
    flags = parse_flags([])
    assert flags == Flags()
    assert (flags.host, flags.port, flags.full_precision) == ("127.0.0.1", None, False)


def test_flags_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        parse_flags([]).port = 1  # type: ignore[misc]


def test_values_are_parsed_to_their_types():
    flags = parse_flags(
        ["--port=7861", "--ckpt-dir", "/a b", "--device-id", "1", "--theme", "dark"]
    )
    assert (flags.port, flags.ckpt_dir, flags.device_id, flags.theme) == (
        7861,
        Path("/a b"),
        1,
        "dark",
    )


@pytest.mark.parametrize(
    ("argv", "host"),
    [
        (["--listen"], "0.0.0.0"),
        (["--server-name", "10.0.0.2"], "10.0.0.2"),
        (["--listen", "--server-name", "::"], "::"),
    ],
)
def test_host_follows_listen_and_server_name(argv, host):
    assert parse_flags(argv).host == host


@pytest.mark.parametrize(
    "argv", [["--use-cpu"], ["--use-cpu", "all"], ["--use-cpu", "unet", "vae"]]
)
def test_use_cpu_means_the_whole_program(argv):
    assert parse_flags(argv).use_cpu
    assert parse_flags([*argv, "--api"]).api


@pytest.mark.parametrize("argv", [["--no-half"], ["--precision", "full"]])
def test_full_precision_has_two_names(argv):
    assert parse_flags(argv).full_precision


@pytest.mark.parametrize(
    ("argv", "guess"),
    [(["--prot", "1"], "--port"), (["--ckpt-dri=x"], "--ckpt-dir"), (["--listn"], "--listen")],
)
def test_the_error_on_an_unknown_flag_names_the_closest(argv, guess):
    with pytest.raises(UserError, match=f"There is no flag .*Did you mean {guess}"):
        parse_flags(argv)


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--zzzz"], "There is no flag --zzzz"),
        (["picture"], "'picture' belongs to no flag"),
        (["--port", "99999"], "'99999' is not a port"),
        (["--port", "x"], "'x' is not a port"),
        (["--port"], "expected one argument"),
        (["--theme", "blue"], "invalid choice: 'blue'"),
        (["--device-id", "-1"], "'-1' is not the number of a GPU"),
        (["--gradio-auth", "me"], "USER:PASSWORD"),
        (["--api-auth", "me:"], "USER:PASSWORD"),
        (["--subpath", "a b"], "'a b' is not a path"),
        (["--cors-allow-origins-regex", "("], "is not a regular expression"),
        (["--no-api", "--nowebui"], "--no-api and --nowebui contradict each other"),
        (["--share"], "--share would open this server to strangers"),
        (["--li"], "There is no flag --li"),
    ],
)
def test_an_invalid_command_line_is_refused_with_a_sentence(argv, message):
    with pytest.raises(UserError, match=message):
        parse_flags(argv)


def test_credentials_come_from_flag_and_file(tmp_path):
    file = tmp_path / "auth.txt"
    file.write_text("c:3\n\nd:4,e:5\n", encoding="utf-8")
    flags = parse_flags(["--gradio-auth", "a:1, b:x:y", "--gradio-auth-path", str(file)])
    assert [(login.user, login.password) for login in flags.credentials()] == [
        ("a", "1"),
        ("b", "x:y"),
        ("c", "3"),
        ("d", "4"),
        ("e", "5"),
    ]


def test_a_missing_credentials_file_is_named(tmp_path):
    flags = parse_flags(["--gradio-auth-path", str(tmp_path / "none")])
    with pytest.raises(UserError, match="none, cannot be read"):
        flags.credentials()


def test_api_credentials_are_separate():
    flags = parse_flags(["--api-auth", "bot:secret"])
    assert flags.api_credentials() == (Credential("bot", "secret"),)
    assert flags.credentials() == ()


def test_the_root_path_has_a_leading_slash_and_no_trailing_one():
    assert parse_flags(["--subpath", "/tools/sd/"]).root_path == "/tools/sd"
    assert parse_flags([]).root_path == ""


def test_only_flags_in_use_override_settings():
    flags = parse_flags(["--ckpt", "first", "--sd-checkpoints-limit", "2"])
    assert flags.setting_overrides() == {"sd_model_checkpoint": "first", "sd_checkpoints_limit": 2}
    assert parse_flags([]).setting_overrides() == {}
    flags = parse_flags(["--accelerator", "OpenVINO"])
    assert flags.setting_overrides() == {"accelerator": "OpenVINO"}


def test_the_repr_shows_no_password():
    flags = parse_flags(["--gradio-auth", "me:hunter2", "--api-auth", "bot:hunter2"])
    assert "hunter2" not in f"{flags} {flags.credentials()} {flags.api_credentials()}"


def test_arguments_after_run_tests_are_passed_to_pytest():
    flags = parse_flags(["--use-cpu", "all", "--run-tests", "-k", "flags", "--exit", "--", "x"])
    assert flags.run_tests == ("-k", "flags", "--exit", "--", "x")
    assert not flags.exit
    assert parse_flags(["--run-tests"]).run_tests == ()


@pytest.mark.parametrize(("name", "takes_value"), IGNORED_NAMES)
def test_an_ignored_flag_is_accepted_with_one_note(name, takes_value):
    flags = parse_flags([name, *(["512"] if takes_value else []), "--api"])
    assert flags.api
    assert len(flags.notes) == 1
    assert flags.notes[0].startswith(f"{name} is accepted, but has no effect: ")


def test_the_safe_unpickler_cannot_be_disabled():
    flags = parse_flags(["--disable-safe-unpickle"])
    assert "always refused" in flags.notes[0]
    assert flags == Flags(notes=flags.notes)


def test_a_typical_a1111_command_line_is_accepted():
    typical = "--xformers --medvram --no-half-vae --api --listen --theme dark --skip-version-check"
    flags = parse_flags(typical.split())
    assert (flags.api, flags.listen, flags.theme, len(flags.notes)) == (True, True, "dark", 2)
    assert flags.setting_overrides() == {"memory_policy": "Idle parts off the device"}


def test_flags_of_attention_choose_the_option_where_their_package_is_there(
    caplog: pytest.LogCaptureFixture,
):
    flags = parse_flags(["--opt-sdp-no-mem-attention"])
    assert flags.setting_overrides() == {"cross_attention_optimization": "sdp-no-mem"}
    is_there = find_spec("xformers") is not None
    found = parse_flags(["--xformers"]).setting_overrides()
    assert found == ({"cross_attention_optimization": "xformers"} if is_there else {})
    assert ("the package xformers is not installed" in caplog.text) != is_there


def test_every_flag_has_one_meaning():
    names = ["--" + field.name.replace("_", "-") for field in declared_fields()]
    names += [name for name, _ in IGNORED_NAMES] + list(REFUSED_FLAGS)
    assert len(names) == len(set(names))


def test_help_lists_every_flag_in_its_group(capsys):
    with pytest.raises(SystemExit) as stop:
        parse_flags(["--help"])
    text = capsys.readouterr().out
    assert stop.value.code == 0
    assert all(f"\n{group}:" in text for group in GROUPS)
    assert all(field.metadata["flag"].help.split()[0] in text for field in declared_fields())
    assert all("--" + field.name.replace("_", "-") in text for field in declared_fields())
    assert "--opt-split-attention" not in text
    assert max(map(len, text.splitlines())) <= 100


def test_several_devices_or_a_cluster_need_ray():
    assert not parse_flags([]).uses_ray
    flags = parse_flags(["--devices", "cuda:0, CUDA:1"])
    assert (flags.devices, flags.uses_ray) == (("cuda:0", "cuda:1"), True)
    assert parse_flags(["--devices=cpu,cpu"]).devices == ("cpu", "cpu")
    flags = parse_flags(["--ray", "auto", "--ray-cpus-per-worker", "4"])
    assert (flags.ray, flags.ray_cpus_per_worker, flags.uses_ray) == ("auto", 4, True)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--devices", "gpu"], "'gpu' is no device; write cuda:0,cuda:1"),
        (["--devices", "cuda:0,cuda:0"], "'cuda:0' is named twice"),
        (["--devices", "all,cpu"], "'all,cpu' is no list of devices; all stands alone"),
        (["--devices", ","], "',' is no list of devices"),
        (["--ray", "auto", "--devices", "all"], "--devices and --ray contradict each other."),
        (["--ray-cpus-per-worker", "0"], "'0' is not a number of processors"),
    ],
)
def test_devices_that_cannot_be_are_named(arguments: list[str], sentence: str):
    with pytest.raises(UserError, match=sentence):
        parse_flags(arguments)
