"""Files of upscalers to networks: every architecture of spandrel is known by its header, and pickles run no code."""

from __future__ import annotations

import itertools
import pickle
import socket
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from modules.backend.upscale.network import load_network
from modules.backend.upscale.spandrel_import import import_spandrel
from modules.core.errors import BadFile
from modules.models.files.header import TensorInfo, read_header
from modules.models.upscaling.architectures import (
    ARCHITECTURES,
    detect_architecture,
    find_architecture,
)
from tests.backend.upscale.tiny_upscalers import TINY, make_network, write_network

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever opens a connection fails."""

    def refuse(*_: Any, **__: Any) -> Any:
        raise AssertionError("loading needs no network")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


def key_sets(condition: Any) -> Iterator[tuple[str, ...]]:
    """Yield each set of names that meets a condition of spandrel."""
    if isinstance(condition, str):
        yield (condition,)
    elif condition._kind == "any":
        for key in condition._keys:
            yield from key_sets(key)
    else:
        for parts in itertools.product(*(list(key_sets(key)) for key in condition._keys)):
            yield tuple(itertools.chain(*parts))


def test_the_architectures_are_those_of_spandrel_and_known_by_its_names():
    rows = import_spandrel().MAIN_REGISTRY.architectures("detection")
    assert [row.name for row in ARCHITECTURES] == [row.architecture.id for row in rows]
    for row in rows:
        for prefix in ("", "params_ema.", "params.module."):
            for names in key_sets(row.architecture._detect):
                tensors = {prefix + name: TensorInfo((1,), "F32") for name in names}
                found = find_architecture(tensors)
                assert found is not None and found.name == row.architecture.id, names


def test_no_trace_of_torchvision_stays():
    import_spandrel()
    assert not [name for name in sys.modules if name.startswith("torchvision")]


@pytest.mark.parametrize("ending", [".safetensors", ".pth"])
@pytest.mark.parametrize("name", list(TINY))
def test_an_image_is_what_the_network_makes_of_it(tmp_path: Path, name: str, ending: str):
    network = make_network(name)
    file = write_network(tmp_path / f"tiny{ending}", network.state_dict())
    architecture = detect_architecture(read_header(file.path))
    assert architecture is not None and architecture.name == name
    loaded = load_network(file, CPU)
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    with torch.inference_mode():
        enlarged = loaded.enlarge(Image.fromarray(pixels))
        blue_first = torch.from_numpy(pixels[:, :, ::-1].copy()).permute(2, 0, 1)[None] / 255
        if name == "SPAN":  # its weights are joined when it is first run
            network.load_state_dict(loaded._descriptor.model.state_dict())
        expected = network(blue_first)[0].clamp(0, 1).mul(255).round().byte()
    assert enlarged.size == (64 * loaded.scale, 64 * loaded.scale)
    assert np.array_equal(np.asarray(enlarged)[:, :, ::-1], expected.permute(1, 2, 0).numpy())


def test_weights_in_16_bits_are_computed_in_32(tmp_path: Path):
    halves = {name: tensor.half() for name, tensor in make_network("ESRGAN").state_dict().items()}
    file = write_network(tmp_path / "half.safetensors", halves)
    assert load_network(file, CPU).dtype == torch.float32


def refusal(tmp_path: Path, tensors: dict[str, torch.Tensor]) -> str:
    with pytest.raises(BadFile) as caught:
        load_network(write_network(tmp_path / "odd.safetensors", tensors), CPU)
    return str(caught.value)


def test_a_network_that_is_no_upscaler_is_refused_in_a_sentence(tmp_path: Path):
    one = torch.zeros(1)
    assert "'odd.safetensors' is no upscaler of a known architecture." in refusal(
        tmp_path, {"a": one}
    )
    face = {"toRGB.0.weight": one, "stylegan_decoder.style_mlp.1.weight": one.clone()}
    assert "is a restorer of faces, not an upscaler. It belongs in models/GFPGAN." in refusal(
        tmp_path, face
    )
    grey = make_network("Compact", num_in_ch=1, num_out_ch=1).state_dict()
    assert "is a network for 1 channels" in refusal(tmp_path, dict(grey))


def test_a_damaged_network_is_refused_before_it_is_built(tmp_path: Path):
    tensors = dict(make_network("ESRGAN").state_dict())
    key = next(name for name in tensors if name.endswith("conv1.0.weight"))
    assert "do not make such a network" in refusal(tmp_path, {**tensors, key: torch.zeros(3, 3)})
    endless = {**tensors, "model.1.sub.999999999.RDB1.conv1.0.weight": torch.zeros(1)}
    assert "names layer 999999999, but has" in refusal(tmp_path, endless)


class Evil:
    """Runs code in whoever unpickles it."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.marker,)


def test_the_code_in_a_pickle_is_not_run(tmp_path: Path):
    path, marker = tmp_path / "evil.pth", tmp_path / "was-here"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"model.0.weight": Evil(marker)}))
    status = path.stat()
    from modules.models.files.scan import ModelFile

    with pytest.raises(BadFile):
        load_network(ModelFile("evil.pth", path, status.st_size, status.st_mtime_ns, None), CPU)
    assert not marker.exists()
