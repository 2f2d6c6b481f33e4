"""The smoke test of a device, here of the CPU."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from modules.launch import smoke

ROOT = Path(__file__).parents[2]
CU130 = ["sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120", "compute_120"]


@pytest.mark.parametrize("capability", [(7, 5), (8, 0), (8, 6), (8, 9), (9, 0), (10, 3), (12, 1)])
def test_machine_code_runs_on_later_gpus_of_its_generation(capability):
    assert smoke.supports_capability(CU130, capability)


def test_intermediate_code_runs_on_any_later_gpu():
    assert smoke.supports_capability(CU130, (13, 0))
    assert not smoke.supports_capability(["sm_90", "sm_90a"], (12, 0))


@pytest.mark.parametrize("capability", [(5, 2), (6, 1), (7, 0)])
def test_older_gpus_are_not_supported(capability):
    assert not smoke.supports_capability(CU130, capability)


def test_names_that_are_not_cuda_architectures_are_ignored():
    assert not smoke.supports_capability(["", "gfx1100", "sm_"], (8, 0))


def test_the_cpu_computes_and_reports_its_version():
    pytest.importorskip("torch")
    report = smoke.run(Path(sys.executable), ROOT, "cpu")
    assert report.torch
    assert (report.device, report.problem, report.remark) == ("cpu", "", "")


def test_a_python_without_pytorch_is_a_problem(tmp_path):
    import venv

    venv.create(tmp_path / "bare", with_pip=False)
    bare = tmp_path / "bare" / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    report = smoke.run(bare, ROOT, "cuda")
    assert report.torch == ""
    assert "No module named 'torch'" in report.problem


def test_a_missing_device_is_a_problem_but_not_a_crash():
    torch = pytest.importorskip("torch")
    if torch.xpu.is_available():
        pytest.skip("this machine has one")
    report = smoke.run(Path(sys.executable), ROOT, "xpu")
    assert report.torch
    assert "finds no xpu device" in report.problem
