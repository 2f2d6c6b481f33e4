"""The tool that writes the locks, on packages as uv resolves them."""

from __future__ import annotations

import pytest

pytest.importorskip("tomllib")
from tools.lock import lock_text


def package(name: str, *wheels: str, **facts: str) -> dict[str, object]:
    files = [
        {"url": f"https://example.org/{wheel}", "hashes": {"sha256": f"{number}" * 64}}
        for number, wheel in enumerate(wheels)
    ]
    return {"name": name, "version": "1.0", "wheels": files, **facts}


def entries(*packages: dict[str, object]) -> str:
    text = lock_text("A lock.", packages)
    assert text.startswith("# A lock.\n")
    return "".join(line for line in text.splitlines(True) if not line.startswith("#"))


def test_a_package_has_its_marker_and_the_hash_of_each_wheel_in_the_order_of_their_names():
    text = entries(
        package(
            "a",
            "a-1.0-cp313-cp313-win_amd64.whl",
            "a-1.0-cp37-abi3-manylinux2014_x86_64.manylinux_2_17_x86_64.whl",
            "a-1.0-cp310-cp310-macosx_10_15_x86_64.macosx_11_0_arm64.macosx_10_15_universal2.whl",
            marker="sys_platform != 'emscripten'",
        )
    )
    assert text == (
        "a==1.0 ; sys_platform != 'emscripten' \\\n"
        f"    --hash=sha256:{'2' * 64} \\\n    --hash=sha256:{'0' * 64} \\\n    --hash=sha256:{'1' * 64}\n"
        "    # a-1.0-cp310-cp310-macosx_10_15_x86_64.macosx_11_0_arm64.macosx_10_15_universal2.whl\n"
        "    # a-1.0-cp313-cp313-win_amd64.whl\n"
        "    # a-1.0-cp37-abi3-manylinux2014_x86_64.manylinux_2_17_x86_64.whl\n"
    )


@pytest.mark.parametrize(
    "tag",
    [
        "cp311-cp311-musllinux_1_2_x86_64",
        "cp311-cp311-manylinux_2_17_s390x.manylinux2014_s390x",
        "cp311-cp311-macosx_10_9_x86_64",
        "cp311-cp311-win32",
        "cp313-cp313t-win_amd64",
        "pp311-pypy311_pp73-win_amd64",
    ],
)
def test_wheels_of_other_systems_and_interpreters_are_left_out(tag: str):
    text = entries(package("a", "a-1.0-py3-none-any.whl", f"a-1.0-{tag}.whl"))
    assert text == f"a==1.0 \\\n    --hash=sha256:{'0' * 64}\n    # a-1.0-py3-none-any.whl\n"


@pytest.mark.parametrize("name", ["torch", "triton", "nvidia-cublas", "cuda-bindings"])
def test_pytorch_and_what_its_gpu_builds_bring_along_are_left_out(name: str):
    assert entries(package(name, f"{name}-1.0-py3-none-any.whl")) == ""


def test_packages_whose_names_begin_like_pytorchs_are_kept():
    assert entries(package("torchsde", "torchsde-1.0-py3-none-any.whl")).startswith("torchsde==1.0")
