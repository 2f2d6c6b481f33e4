"""LoRA files: found by the names that prompts use, told by their headers, hashed as A1111 does."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import pytest

from modules.models.index import ModelIndex
from modules.models.networks.network_index import NetworkIndex, path_name
from modules.models.networks.network_kinds import LORA
from tests.conftest import ROOT, write_listed_checkpoint
from tests.models.networks.lora_files import PLAIN, TO_K, write_lora


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "Lora"


@pytest.fixture
def networks(folder: Path, tmp_path: Path) -> NetworkIndex:
    return ModelIndex({LORA: [folder]}, ROOT / "configs", tmp_path / "cache").networks


def test_a_file_is_found_by_its_name_and_by_its_alias(folder: Path, networks: NetworkIndex):
    write_lora(folder / "sub" / "ink.safetensors", metadata={"ss_output_name": "my ink"})
    found = networks.find(LORA, "ink")
    assert found is not None and found is networks.find(LORA, "my ink")
    assert networks.find(LORA, "sub/ink") is found
    assert networks.find(LORA, "Ink") is None, "case counts, as in A1111"
    assert (found.network_name, found.alias, found.folder) == ("ink", "my ink", "sub")


def test_a_name_that_no_tag_can_hold_is_written_with_underscores(
    folder: Path, networks: NetworkIndex
):
    write_lora(folder / "a:b<c>, \U0001f600.safetensors")
    (file,) = networks.files(LORA)
    assert networks.find(LORA, "a_b_c_, \U0001f600") is file


def test_an_alias_of_two_files_finds_neither(folder: Path, networks: NetworkIndex):
    for name in ("a", "b"):
        write_lora(folder / f"{name}.safetensors", metadata={"ss_output_name": "same"})
    write_lora(folder / "none.safetensors")
    assert networks.find(LORA, "same") is None
    assert [networks.find(LORA, name) is not None for name in ("a", "b", "none")] == [True] * 3


def test_a_new_file_is_found_without_a_refresh_and_a_replaced_one_is_read_again(
    folder: Path, networks: NetworkIndex
):
    assert networks.find(LORA, "ink") is None
    path = write_lora(folder / "ink.safetensors")
    before = networks.find(LORA, "ink")
    assert before is not None and before.facts.family == "SD 1.x"
    write_lora(path, {f"{TO_K}.lora_down.weight": (4, 2048), f"{TO_K}.lora_up.weight": (8, 4)})
    os.utime(path, ns=(1, 1))
    after = networks.find(LORA, "ink")
    assert after is not None and after.facts.family == "SDXL"
    path.unlink()
    assert networks.find(LORA, "ink") is None


@pytest.mark.parametrize(
    ("shapes", "metadata", "family"),
    [
        (PLAIN, {}, "SD 1.x"),
        (PLAIN, {"ss_base_model_version": "sdxl_base_v1-0"}, "SD 1.x"),
        ({f"{TO_K}.hada_w1_b": (4, 1024)}, {}, "SD 2.x"),
        ({"lora_te2_text_model_encoder_layers_0_mlp_fc1.alpha": ()}, {}, "SDXL"),
        ({"lora_unet_double_blocks_0_img_attn_proj.alpha": ()}, {}, "Flux"),
        (
            {"lora_te_text_model_encoder_layers_0_mlp_fc1.alpha": ()},
            {"modelspec.architecture": "stable-diffusion-xl-v1-base/lora"},
            "SDXL",
        ),
        ({"lora_te_text_model_encoder_layers_0_mlp_fc1.alpha": ()}, {"ss_v2": "True"}, "SD 2.x"),
        ({"lora_te_text_model_encoder_layers_0_mlp_fc1.alpha": ()}, {}, ""),
    ],
)
def test_the_family_is_told_by_shapes_before_the_metadata(
    folder: Path,
    networks: NetworkIndex,
    shapes: dict[str, tuple[int, ...]],
    metadata: dict[str, str],
    family: str,
):
    write_lora(folder / "ink.safetensors", shapes, metadata)
    (file,) = networks.files(LORA)
    assert file.facts.family == family


def test_the_hash_is_that_of_the_bytes_after_the_header_or_the_stated_one(
    folder: Path, networks: NetworkIndex
):
    write_lora(folder / "a.safetensors", fill=7)
    write_lora(folder / "b.safetensors", metadata={"ss_output_name": "other"}, fill=7)
    stated = "0123456789abcdef" * 4
    write_lora(folder / "c.safetensors", metadata={"sshs_model_hash": stated})
    first, second, third = networks.files(LORA)
    assert networks.known_hash(first) == "" and networks.find_by_hash(LORA, stated) is third
    digest = hashlib.sha256(bytes([7]) * 2 * (4 * 768 + 320 * 4 + 1)).hexdigest()
    assert [networks.hash(file, 20) for file in (first, second, third)] == [digest, digest, stated]
    assert networks.find_by_hash(LORA, digest[:12]) is first


@pytest.mark.parametrize(
    ("write", "error"),
    [
        (lambda path: write_lora(path, {f"{TO_K}.strange": (2, 2)}), "a layer of an unknown kind"),
        (lambda path: write_lora(path, {"emb_params": (2, 4)}), "is a textual-inversion embedding"),
        (lambda path: write_listed_checkpoint(path), "belongs in models/Stable-diffusion"),
        (lambda path: path.write_bytes(b"<html>"), "is a web page"),
        (lambda path: path.write_bytes(write_lora(path).read_bytes()[:-9]), "is incomplete"),
    ],
)
def test_what_is_no_lora_is_listed_with_the_reason(
    folder: Path, networks: NetworkIndex, write, error: str
):
    folder.mkdir()
    write(folder / "ink.safetensors")
    (file,) = networks.files(LORA)
    assert error in file.facts.error


def test_a_list_opens_only_new_files(folder: Path, networks: NetworkIndex, tmp_path: Path):
    path = write_lora(folder / "ink.safetensors")
    assert networks.files(LORA)[0].facts.family == "SD 1.x"
    stamp = path.stat()
    path.write_bytes(b"x" * stamp.st_size)  # with the same size and time it is taken as read
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    again = ModelIndex({LORA: [folder]}, ROOT / "configs", tmp_path / "cache").networks
    assert again.files(LORA)[0].facts.family == "SD 1.x"


def test_of_files_with_one_name_each_is_found_by_its_folder(folder: Path, networks: NetworkIndex):
    for name in ("ink", "a/ink", "b/c/ink", "b/wash"):
        write_lora(folder / f"{name}.safetensors")
    by_name = {file.name: file for file in networks.files(LORA)}
    found = {path_name(file): file for file in by_name.values()}
    assert sorted(found) == ["./ink", "a/ink", "b/c/ink", "b/wash"]
    assert all(networks.find(LORA, name) is file for name, file in found.items())
    meant = networks.find(LORA, "ink")
    assert meant is not None and len(networks.namesakes(meant)) == 2
    assert networks.namesakes(found["b/wash"]) == ()


def test_of_files_with_one_name_the_last_counts_that_a1111_comes_upon(
    folder: Path, networks: NetworkIndex
):
    for name in ("ink", "b 10/ink", "b 9/ink"):
        write_lora(folder / f"{name}.safetensors")
    found = networks.find(LORA, "ink")
    assert found is not None and found.name == "b 10/ink.safetensors"


def test_headers_are_read_ahead_and_the_folder_again_when_it_is_listed(
    folder: Path, tmp_path: Path
):
    path = write_lora(folder / "ink.safetensors")
    models = ModelIndex({LORA: [folder]}, ROOT / "configs", tmp_path / "cache")
    models.read_ahead()
    cache = tmp_path / "cache" / "lora-facts.json"
    deadline = time.monotonic() + 20
    while not cache.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    stamp = path.stat()
    path.write_bytes(b"x" * stamp.st_size)  # with the same size and time it is taken as read
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    write_lora(folder / "wash.safetensors")
    assert [file.facts.family for file in models.networks.files(LORA)] == ["SD 1.x", "SD 1.x"]
