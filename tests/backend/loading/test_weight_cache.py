"""Converted weights on the disk: the same bits, mapped, never trusted when anything about them is odd."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from modules.backend.components import Components, Precision
from modules.backend.loading.loader import LoadOptions, load_components
from modules.backend.loading.weight_cache import WeightCache
from modules.backend.memory.offload import networks_of
from modules.backend.networks.lora_fold import FoldedLoras
from modules.models.index import ModelIndex
from modules.plan.networks.loras import LoraUse
from tests.conftest import ROOT

DEMO = ROOT / "models" / "Stable-diffusion" / "demo" / "demo.safetensors"
FULL = Precision(torch.float32, torch.float32, torch.float32)
HALF = Precision(torch.bfloat16, torch.float32, torch.bfloat16)
LIMIT = 1_000_000_000


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    for suffix in (".safetensors", ".yaml"):
        shutil.copy(DEMO.with_suffix(suffix), tmp_path / f"demo{suffix}")
    return tmp_path / "demo.safetensors"


@pytest.fixture
def cache(tmp_path: Path) -> WeightCache:
    return WeightCache(tmp_path / "weights", LIMIT, least_bytes=0, least_free=(0, 0))


def load(path: Path, cache: WeightCache | None, precision: Precision = FULL) -> Components:
    options = LoadOptions(cache=cache)
    components = load_components(path, path.with_suffix(".yaml"), precision, options)
    if cache is not None:
        cache.wait()
    return components


def weights_of(components: Components) -> dict[str, Tensor]:
    return {
        f"{number} {name}": weight
        for number, network in enumerate(networks_of(components))
        for name, weight in network.state_dict().items()
    }


def assert_same(ours: Mapping[str, Tensor], plain: Mapping[str, Tensor]) -> None:
    assert ours.keys() == plain.keys()
    assert all(ours[name].dtype == plain[name].dtype for name in plain)
    assert all(torch.equal(ours[name], plain[name]) for name in plain)


def is_mapped(network: nn.Module, folder: Path) -> bool:
    """Whether a weight lies in a mapping of a file of the folder, as the system tells."""
    address = next(network.parameters()).data_ptr()
    for line in Path("/proc/self/maps").read_text().splitlines():
        start, end = (int(part, 16) for part in line.split()[0].split("-"))
        if start <= address < end:
            return str(folder) in line
    return False


def files(cache: WeightCache, tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "weights").glob("*.safetensors"))


needs_proc = pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs Linux")


@needs_proc
@pytest.mark.parametrize("precision", [FULL, HALF], ids=["full", "half"])
def test_the_second_load_maps_the_same_bits(
    checkpoint: Path, cache: WeightCache, tmp_path: Path, precision: Precision
):
    plain = load(checkpoint, None, precision)
    first = load(checkpoint, cache, precision)
    second = load(checkpoint, cache, precision)
    assert len(files(cache, tmp_path)) == 3
    assert not is_mapped(first.unet, tmp_path)
    assert is_mapped(second.unet, tmp_path)
    assert is_mapped(second.vae, tmp_path)
    for components in (first, second):
        assert_same(weights_of(components), weights_of(plain))


def test_the_files_are_safetensors_with_aligned_weights(
    checkpoint: Path, cache: WeightCache, tmp_path: Path
):
    load(checkpoint, cache)
    unet = load(checkpoint, cache).unet
    large = max(files(cache, tmp_path), key=lambda file: file.stat().st_size)
    assert_same(load_file(large), unet.state_dict())
    aligned = [w for w in unet.parameters() if w.nbytes % 64 == 0]
    assert aligned
    assert all(weight.data_ptr() % 64 == 0 for weight in aligned)


def test_a_lora_on_mapped_weights_leaves_the_file_and_comes_off_exactly(
    checkpoint: Path, cache: WeightCache, tmp_path: Path
):
    load(checkpoint, cache)
    before = {file: file.read_bytes() for file in files(cache, tmp_path)}
    components = load(checkpoint, cache)
    plain = weights_of(load(checkpoint, None))
    index = ModelIndex({"LoRA": [ROOT / "models" / "Lora"]}, ROOT / "configs", tmp_path / "cache")
    snow = index.networks.find("LoRA", "demo-snow")
    assert snow is not None
    folded = FoldedLoras(components)
    with torch.inference_mode():
        folded.fold([LoraUse("demo-snow", snow)])
        changed = weights_of(components)
        assert any(not torch.equal(changed[name], plain[name]) for name in plain)
        assert {file: file.read_bytes() for file in files(cache, tmp_path)} == before
        folded.fold([])
    assert_same(weights_of(components), plain)


def test_mapped_weights_outlive_their_file(checkpoint: Path, cache: WeightCache, tmp_path: Path):
    load(checkpoint, cache)
    components = load(checkpoint, cache)
    for file in files(cache, tmp_path):
        other = file.with_name("other")
        other.write_bytes(b"x")
        other.replace(file)
        file.unlink()
    assert_same(weights_of(components), weights_of(load(checkpoint, None)))


@pytest.mark.parametrize("damage", ["shorter", "longer", "header", "key", "link", "folder"])
def test_a_file_that_is_not_as_it_was_written_is_not_used(
    checkpoint: Path, cache: WeightCache, tmp_path: Path, damage: str
):
    load(checkpoint, cache)
    for file in files(cache, tmp_path):
        content = bytearray(file.read_bytes())
        if damage == "shorter":
            del content[-1:]
        elif damage == "longer":
            content += b"0"
        elif damage == "header":
            content[60] ^= 1
        elif damage == "key":
            content = content.replace(b'"weights"', b'"weighty"')
        content[-64:] = bytes(64)  # that would be seen
        file.unlink()
        if damage == "link":
            (tmp_path / "elsewhere").write_bytes(content)
            file.symlink_to(tmp_path / "elsewhere")
        elif damage == "folder":
            file.mkdir()
        else:
            file.write_bytes(content)
    plain = weights_of(load(checkpoint, None))
    assert_same(weights_of(load(checkpoint, cache)), plain)


def test_another_checkpoint_under_the_name_is_converted(
    checkpoint: Path, cache: WeightCache, tmp_path: Path
):
    load(checkpoint, cache)
    content = bytearray(checkpoint.read_bytes())
    content[-100_000:] = bytes(100_000)
    checkpoint.write_bytes(content)
    os.utime(checkpoint, (1, 1))
    assert_same(weights_of(load(checkpoint, cache)), weights_of(load(checkpoint, None)))
    assert len(files(cache, tmp_path)) == 6


def test_the_least_recently_used_files_make_room(checkpoint: Path, tmp_path: Path):
    cache = WeightCache(tmp_path / "weights", LIMIT, least_bytes=0, least_free=(0, 0))
    load(checkpoint, cache)
    old = files(cache, tmp_path)
    for number, file in enumerate(old):
        os.utime(file, (number, number))
    stranger = tmp_path / "weights" / "mine.txt"
    stranger.write_text("mine")
    sizes = [file.stat().st_size for file in old]
    WeightCache(tmp_path / "weights", sum(sizes[1:]), least_bytes=0, least_free=(0, 0)).trim()
    assert files(cache, tmp_path) == old[1:]
    WeightCache(tmp_path / "weights", 0).trim()
    assert files(cache, tmp_path) == []
    assert stranger.exists()


def test_what_needs_no_conversion_or_has_no_room_is_not_kept(checkpoint: Path, tmp_path: Path):
    half = Precision(torch.float16, torch.float16, torch.float16)
    load(
        checkpoint, WeightCache(tmp_path / "weights", LIMIT, least_bytes=0, least_free=(0, 0)), half
    )
    load(checkpoint, WeightCache(tmp_path / "weights", 1000, least_bytes=0, least_free=(0, 0)))
    load(checkpoint, WeightCache(tmp_path / "weights", LIMIT))
    load(checkpoint, WeightCache(tmp_path / "weights", LIMIT, least_bytes=0, least_free=(0, 1.0)))
    assert not (tmp_path / "weights").exists()


def test_what_is_not_written_when_the_program_ends_is_dropped(
    checkpoint: Path, cache: WeightCache, tmp_path: Path
):
    cache.close()
    load(checkpoint, cache)
    assert files(cache, tmp_path) == []
    assert list((tmp_path / "weights").glob(".*")) == []
