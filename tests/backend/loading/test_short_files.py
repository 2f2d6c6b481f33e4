"""Files that are cut short while they are loaded or in use. With a mapped file each of these kills the process."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from modules.backend.device import FP32
from modules.backend.loading import loader
from modules.backend.loading.loader import DEFAULT_LOAD_OPTIONS, build_components, load_components
from modules.backend.loading.state_dict import read_state_dict, read_tensor
from modules.backend.model_cache import ModelCache
from modules.core.errors import BadFile
from modules.models.files import convert, safe_pickle
from modules.models.files.ckpt_layout import locate_storages
from modules.models.files.header import read_header
from modules.models.index import ModelIndex
from modules.models.model_spec import ModelSpec, make_model_spec
from modules.params.settings import Settings
from modules.prompt.tokens import ClipTokenizer
from tests.backend.checkpoints import write_checkpoint
from tests.backend.loading.test_buffers import pad_header
from tests.conftest import ROOT

FILES = pytest.mark.parametrize(
    ("name", "container"),
    [("a.safetensors", None), ("a.ckpt", "zip"), ("a.ckpt", "pickle"), ("odd.safetensors", None)],
)
DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.float16])


def write(tmp_path: Path, name: str, container: Any, dtype: torch.dtype = torch.float32) -> Path:
    path = write_checkpoint(tmp_path / "models" / name, container=container, dtype=dtype)
    return pad_header(path, 3) if name.startswith("odd") else path


@FILES
@DTYPES
def test_a_loaded_model_does_not_need_its_file(tmp_path, name, container, dtype):
    path = write(tmp_path, name, container, dtype)
    components = load_components(path, path.with_suffix(".yaml"), FP32)
    before = {key: value.clone() for key, value in components.unet.state_dict().items()}
    os.truncate(path, 5000)
    for key, value in components.unet.state_dict().items():
        assert torch.equal(value, before[key])
    assert all(bool(torch.isfinite(value).all()) for value in components.vae.state_dict().values())


@FILES
@DTYPES
def test_a_file_that_is_cut_short_while_it_is_loaded_is_a_bad_file(
    tmp_path, name, container, dtype
):
    path = write(tmp_path, name, container, dtype)
    options = DEFAULT_LOAD_OPTIONS
    checked = loader.validate_checkpoint(path, path.with_suffix(".yaml"), options)
    state_dict = read_state_dict(path, checked.header)
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(BadFile, match=r"was cut short while it was read: a weight of \d+ bytes"):
        build_components(state_dict, checked.config, FP32, name, checked.family, options)


def test_no_tensor_of_a_short_file_can_be_read_wrongly(tmp_path):
    path = write(tmp_path, "a.safetensors", None)
    state_dict = read_state_dict(path, read_header(path))
    whole = {key: read_tensor(state_dict, tensor).clone() for key, tensor in state_dict.items()}
    os.truncate(path, path.stat().st_size // 2)
    read = {key: read_or_none(state_dict, tensor) for key, tensor in state_dict.items()}
    assert all(torch.equal(value, whole[key]) for key, value in read.items() if value is not None)
    assert 0 < sum(value is None for value in read.values()) < len(read)


def read_or_none(state_dict: Any, tensor: torch.Tensor) -> torch.Tensor | None:
    try:
        return read_tensor(state_dict, tensor)
    except BadFile:
        return None


def test_a_replaced_file_is_read_to_its_end(tmp_path):
    path = write(tmp_path, "a.safetensors", None)
    state_dict = read_state_dict(path, read_header(path))
    whole = {key: read_tensor(state_dict, tensor) for key, tensor in state_dict.items()}
    path.with_suffix(".new").write_bytes(b"another file")
    path.with_suffix(".new").replace(path)
    assert all(torch.equal(read_tensor(state_dict, state_dict[key]), whole[key]) for key in whole)


def test_a_ckpt_that_is_cut_short_is_not_converted(tmp_path):
    path = write(tmp_path, "a.ckpt", "zip")
    contents = safe_pickle.read_ckpt(path, is_zip=True)
    locations = locate_storages(path, contents, is_zip=True)
    os.truncate(path, path.stat().st_size // 2)
    with pytest.raises(BadFile, match="was cut short while it was read"):
        convert._write_safetensors(io.BytesIO(), path, contents, locations)


@pytest.fixture
def spec(tmp_path: Path) -> ModelSpec:
    write(tmp_path, "a.safetensors", None)
    folders = {"Checkpoint": [tmp_path / "models"], "VAE": [tmp_path / "VAE"]}
    index = ModelIndex(folders, ROOT / "configs", tmp_path / "cache")
    return make_model_spec(index, index.find_checkpoint("a"), Settings())


def test_a_job_is_told_that_its_file_has_changed(spec: ModelSpec, tokenizer: ClipTokenizer):
    cache = ModelCache(torch.device("cpu"), tokenizer)
    assert cache.changed_files(spec) == []
    model = cache.acquire(spec, FP32)
    assert cache.changed_files(spec) == []
    size = spec.checkpoint.size_bytes
    os.truncate(spec.checkpoint.path, 100)
    (sentence,) = cache.changed_files(spec)
    assert sentence == (
        f"'a.safetensors' has changed on the disk since it was loaded: it had {size} bytes and has 100 bytes now."
        " The loaded copy is used; refresh the list to read the file again."
    )
    assert cache.acquire(spec, FP32) is model
    spec.checkpoint.path.unlink()
    assert "and is gone." in cache.changed_files(spec)[0]
    cache.clear()
    with pytest.raises(Exception, match="does not exist"):
        cache.acquire(spec, FP32)
