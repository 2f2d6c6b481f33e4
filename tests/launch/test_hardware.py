"""Parsing of what drivers report."""

from __future__ import annotations

import pytest

from modules.launch import hardware
from modules.launch.hardware import NvidiaGpu


def test_nvidia_smi_lists_gpus():
    text = "NVIDIA GeForce RTX 4090, 581.57, 8.9\nNVIDIA GeForce GTX 1080 Ti, 581.57, 6.1\n"
    assert hardware.parse_nvidia_smi(text) == (
        NvidiaGpu("NVIDIA GeForce RTX 4090", 581, (8, 9)),
        NvidiaGpu("NVIDIA GeForce GTX 1080 Ti", 581, (6, 1)),
    )


def test_an_old_nvidia_smi_reports_no_capability():
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
def test_error_messages_of_nvidia_smi_are_not_gpus(text):
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
def test_amd_targets_are_spelled_as_in_the_builds(version, target):
    text = f"cpu_cores_count 0\nsimd_count 152\ngfx_target_version {version}\nvendor_id 4098\n"
    assert hardware.parse_kfd_properties(text) == target


def test_each_processor_architecture_has_one_name():
    names = ["AMD64", "x86_64", "aarch64", "arm64", "ARM64", "riscv64"]
    assert [hardware.normalize_machine(name) for name in names] == [
        "x86_64",
        "x86_64",
        "arm64",
        "arm64",
        "arm64",
        "riscv64",
    ]


@pytest.mark.parametrize("pci_id", ["0x56a0", "0xe20b", "0x7d55", "0x64a0", "0x0bd5"])
def test_intel_arc_is_recognised_by_its_pci_id(pci_id):
    assert hardware.INTEL_PCI_IDS.match(pci_id)


@pytest.mark.parametrize("pci_id", ["0x3e92", "0x9a49", "0x4680"])
def test_older_intel_graphics_are_not_recognised_as_arc(pci_id):
    assert not hardware.INTEL_PCI_IDS.match(pci_id)


@pytest.mark.parametrize(
    ("name", "is_supported"),
    [
        ("Intel(R) Arc(TM) A770 Graphics", True),
        ("Intel(R) Arc(TM) 140V GPU (16GB)", True),
        ("Intel(R) UHD Graphics 630", False),
        ("Microsoft Basic Display Adapter", False),
    ],
)
def test_intel_arc_is_recognised_by_its_name(name, is_supported):
    assert bool(hardware.INTEL_NAMES.search(name)) == is_supported


def test_on_windows_for_arm64_the_architecture_is_that_of_python(monkeypatch):
    monkeypatch.setattr("platform.system", lambda: "Windows")
    monkeypatch.setattr("platform.machine", lambda: "ARM64")  # of the machine, since Python 3.12
    for tag, machine in (("win-amd64", "x86_64"), ("win-arm64", "arm64")):
        monkeypatch.setattr("sysconfig.get_platform", lambda tag=tag: tag)
        assert hardware.probe().machine == machine


def test_this_machine_can_be_probed():
    found = hardware.probe()
    assert found.system in ("Linux", "Windows", "Darwin")
    assert found.machine
