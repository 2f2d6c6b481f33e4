"""What drivers say, read into facts."""

from __future__ import annotations

import pytest

from modules.launch import hardware
from modules.launch.hardware import NvidiaGpu


def test_nvidia_smi_lists_cards():
    text = "NVIDIA GeForce RTX 4090, 581.57, 8.9\nNVIDIA GeForce GTX 1080 Ti, 581.57, 6.1\n"
    assert hardware.parse_nvidia_smi(text) == (
        NvidiaGpu("NVIDIA GeForce RTX 4090", 581, (8, 9)),
        NvidiaGpu("NVIDIA GeForce GTX 1080 Ti", 581, (6, 1)),
    )


def test_an_old_nvidia_smi_tells_no_capability():
    assert hardware.parse_nvidia_smi("Tesla K80, 470.256.02\n") == (
        NvidiaGpu("Tesla K80", 470, (0, 0)),
    )


@pytest.mark.parametrize(
    "text",
    [
        "",
        'Field "compute_cap" is not a valid field to query.',
        "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.",
        "Failed to initialize NVML: Driver/library version mismatch\nNVML library version: 580.95",
        "No devices were found",
    ],
)
def test_complaints_of_nvidia_smi_are_no_cards(text):
    assert hardware.parse_nvidia_smi(text) == ()


@pytest.mark.parametrize(
    ("version", "target"),
    [
        ("0", ""),
        ("90010", "gfx90a"),
        ("100300", "gfx1030"),
        ("110001", "gfx1101"),
        ("90402", "gfx942"),
    ],
)
def test_amd_targets_are_spelled_as_builds_spell_them(version, target):
    text = f"cpu_cores_count 0\nsimd_count 152\ngfx_target_version {version}\nvendor_id 4098\n"
    assert hardware.parse_kfd_properties(text) == target


def test_processors_have_one_name():
    names = ["AMD64", "x86_64", "aarch64", "arm64", "ARM64", "riscv64"]
    assert [hardware.normalize_machine(name) for name in names] == [
        "x86_64",
        "x86_64",
        "arm64",
        "arm64",
        "arm64",
        "riscv64",
    ]


@pytest.mark.parametrize("number", ["0x56a0", "0xe20b", "0x7d55", "0x64a0", "0x0bd5"])
def test_intel_arc_is_known_by_its_number(number):
    assert hardware.INTEL_PCI_IDS.match(number)


@pytest.mark.parametrize("number", ["0x3e92", "0x9a49", "0x4680"])
def test_older_intel_graphics_are_not_taken_for_arc(number):
    assert not hardware.INTEL_PCI_IDS.match(number)


@pytest.mark.parametrize(
    ("name", "is_supported"),
    [
        ("Intel(R) Arc(TM) A770 Graphics", True),
        ("Intel(R) Arc(TM) 140V GPU (16GB)", True),
        ("Intel(R) UHD Graphics 630", False),
        ("Microsoft Basic Display Adapter", False),
    ],
)
def test_intel_arc_is_known_by_its_name(name, is_supported):
    assert bool(hardware.INTEL_NAMES.search(name)) == is_supported


def test_this_machine_can_be_probed():
    found = hardware.probe()
    assert found.system in ("Linux", "Windows", "Darwin")
    assert found.machine
