"""The recipes of the floors core and launch: a flag, a flag of A1111, a build of PyTorch."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from modules.core.a1111_flags import IGNORED_FLAGS, IgnoredFlags
from modules.core.command_line import parse_flags
from modules.core.flag_types import flag
from modules.core.flags import Flags
from modules.launch.hardware import Hardware, parse_nvidia_smi
from modules.launch.wheels import BUILDS, INDEX_URL, TorchBuild, choose_build


@dataclass(frozen=True)
class LouderFlags(Flags):
    """The command line with one more flag."""

    volume: int = flag(3, "Page", "how loud the page is", type=int, metavar="NUMBER")


def test_a_flag_is_one_line(capsys: pytest.CaptureFixture[str]):
    assert parse_flags([], LouderFlags).redacted_dict()["volume"] == 3
    assert parse_flags(["--volume", "7"], LouderFlags).redacted_dict()["volume"] == 7
    with pytest.raises(SystemExit):
        parse_flags(["--help"], LouderFlags)
    assert "how loud the page is" in capsys.readouterr().out


def test_a_flag_of_a1111_without_effect_is_a_row():
    row = IgnoredFlags("--bass --treble", "the page is silent", takes_value=True)
    flags = parse_flags(["--treble", "4"], ignored_flags=(row, *IGNORED_FLAGS))
    assert flags.notes == ("--treble is accepted, but has no effect: the page is silent.",)


def test_a_torch_build_is_a_row():
    row = TorchBuild(
        "cu140",
        "CUDA 14.0",
        "cuda",
        ("Linux/x86_64",),
        min_driver_version=700,
        capability_range=((9, 0), (13, 0)),
        index_url=INDEX_URL + "cu140",
    )
    builds = (row, *BUILDS)
    new, old = (
        Hardware("Linux", "x86_64", nvidia_gpus=parse_nvidia_smi(f"Card, {driver}, 9.0"))
        for driver in ("700.10", "580.65")
    )
    assert choose_build(new, builds).build.requirement.endswith("+cu140")
    assert choose_build(old, builds).build.requirement.endswith("+cu130")
