"""The build of PyTorch for each kind of machine."""

from __future__ import annotations

import pytest

from modules.core.errors import Unsupported
from modules.launch.hardware import Hardware, parse_nvidia_smi
from modules.launch.wheels import BUILDS, TORCH_VERSION, choose_build, cpu_build

LINUX = ("Linux", "x86_64")
WINDOWS = ("Windows", "x86_64")


def with_nvidia(system, smi):
    return Hardware(*system, nvidia_gpus=parse_nvidia_smi(smi))


@pytest.mark.parametrize(
    ("system", "smi", "requirement"),
    [
        (LINUX, "NVIDIA GeForce RTX 4090, 581.57, 8.9", "torch==2.13.0+cu130"),
        (LINUX, "NVIDIA GeForce RTX 5090, 580.95.05, 12.0", "torch==2.13.0+cu130"),
        (LINUX, "NVIDIA GeForce RTX 3060, 535.183.01, 8.6", "torch==2.13.0+cu126"),
        (LINUX, "Tesla T4, 580.65.06, 7.5", "torch==2.13.0+cu130"),
        (LINUX, "Tesla V100-SXM2-16GB, 580.65.06, 7.0", "torch==2.13.0+cu126"),
        (LINUX, "NVIDIA GeForce GTX 1080 Ti, 560.35.03, 6.1", "torch==2.13.0+cu126"),
        (LINUX, "NVIDIA H200, 570.133.20, 9.0", "torch==2.13.0+cu126"),
        (("Linux", "arm64"), "NVIDIA GB10, 580.95.05, 12.1", "torch==2.13.0+cu130"),
        (WINDOWS, "NVIDIA GeForce GTX 970, 566.36, 5.2", "torch==2.13.0+cu126"),
        (WINDOWS, "NVIDIA GeForce RTX 4070, 581.80, 8.9", "torch==2.13.0+cu130"),
    ],
)
def test_nvidia_gpus_get_the_newest_cuda_that_gpu_and_driver_support(system, smi, requirement):
    choice = choose_build(with_nvidia(system, smi))
    assert choice.build.requirement == requirement
    assert choice.build.index_url.endswith(choice.build.name)
    assert choice.reason.startswith(smi.split(",")[0])
    assert choice.warning == ""


@pytest.mark.parametrize(
    ("smi", "reason"),
    [
        ("NVIDIA GeForce RTX 5090, 575.64, 12.0", "needs NVIDIA driver 580 or newer"),
        ("NVIDIA GeForce RTX 3060, 470.256.02, 8.6", "needs NVIDIA driver 525 or newer"),
        ("NVIDIA GeForce GTX 1080, 418.67", "needs NVIDIA driver 525 or newer"),
        ("Tesla K80, 550.54, 3.7", "compute capability 3.7"),
    ],
)
def test_an_unsupported_gpu_gets_the_cpu_build_and_a_warning_with_the_reason(smi, reason):
    choice = choose_build(with_nvidia(LINUX, smi))
    assert choice.build.requirement == "torch==2.13.0+cpu"
    assert reason in choice.warning


def test_two_gpus_get_the_build_that_supports_both():
    both = "NVIDIA GeForce RTX 4090, 581.57, 8.9\nNVIDIA GeForce GTX 1080 Ti, 581.57, 6.1"
    assert choose_build(with_nvidia(LINUX, both)).build.name == "cu126"


def test_two_gpus_without_a_common_build_get_a_warning_that_names_the_unsupported():
    both = "NVIDIA GeForce GTX 1080 Ti, 581.57, 6.1\nNVIDIA GeForce RTX 5090, 581.57, 12.0"
    choice = choose_build(with_nvidia(LINUX, both))
    assert choice.build.name == "cu130"
    assert choice.warning == "NVIDIA GeForce GTX 1080 Ti cannot be used by this build."


@pytest.mark.parametrize(
    ("hardware", "label", "requirement"),
    [
        (Hardware(*LINUX, amd_targets=("gfx1100",)), "ROCm 7.2", "torch==2.13.0+rocm7.2"),
        (Hardware(*LINUX, amd_targets=("gfx1036", "gfx1201")), "ROCm 7.2", "torch==2.13.0+rocm7.2"),
        (Hardware(*LINUX, intel_gpu="Intel GPU 0x56a0"), "Intel XPU", "torch==2.13.0+xpu"),
        (Hardware(*WINDOWS, intel_gpu="Intel(R) Arc(TM) A770"), "Intel XPU", "torch==2.13.0+xpu"),
        (Hardware("Darwin", "arm64", macos=(15, 1)), "Apple MPS", "torch==2.13.0"),
        (Hardware(*LINUX), "CPU", "torch==2.13.0+cpu"),
        (Hardware("Linux", "arm64"), "CPU", "torch==2.13.0+cpu"),
        (Hardware(*WINDOWS), "CPU", "torch==2.13.0"),
        (Hardware(*LINUX, amd_targets=("gfx1036",)), "CPU", "torch==2.13.0+cpu"),
    ],
)
def test_every_other_machine_gets_its_build(hardware, label, requirement):
    choice = choose_build(hardware)
    assert (choice.build.label, choice.build.requirement) == (label, requirement)
    assert bool(choice.warning) == (label == "CPU")


def test_the_requirement_on_a_linux_cpu_excludes_cuda_builds():
    assert cpu_build(Hardware(*LINUX)).requirement == f"torch=={TORCH_VERSION}+cpu"


@pytest.mark.parametrize(
    ("hardware", "message"),
    [
        (Hardware("Darwin", "x86_64", macos=(14, 0)), "Macs with Intel processors"),
        (Hardware("Darwin", "arm64", macos=(13, 6)), "needs macOS 14; this is macOS 13"),
        (Hardware("Linux", "riscv64"), "Linux on riscv64"),
        (Hardware("FreeBSD", "x86_64"), "FreeBSD on x86_64"),
        (Hardware("Windows", "arm64"), "Install Python for x86-64"),
    ],
)
def test_a_system_without_pytorch_is_refused_with_a_sentence(hardware, message):
    with pytest.raises(Unsupported, match=message):
        choose_build(hardware)


def test_the_drivers_error_message_is_in_the_warning():
    hardware = Hardware(
        *LINUX, driver_error="nvidia-smi lists no GPU: Driver/library version mismatch"
    )
    assert "Driver/library version mismatch" in choose_build(hardware).warning


def test_every_gpu_build_names_its_index_and_every_system_has_a_cpu():
    assert all(row.index_url for row in BUILDS if row.device in ("cuda", "xpu"))
    for platform in {platform for row in BUILDS for platform in row.platforms}:
        assert cpu_build(Hardware(*platform.split("/"))).device in ("cpu", "mps")
