"""Model files on another machine: two folders stand for the two machines."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from modules.core.errors import BadFile, StorageError
from modules.engine.executors.cluster.wire import pack_work, unpack_work
from modules.engine.executors.model_files import (
    FileFacts,
    FileHashes,
    ModelFileCache,
    read_part,
)
from modules.models.index import ModelIndex
from modules.models.model_spec import make_model_spec
from modules.params.settings import Settings
from modules.plan.work import LoadModel
from tests.conftest import ROOT, write_listed_checkpoint


@pytest.fixture
def cache(tmp_path: Path) -> ModelFileCache:
    return ModelFileCache(tmp_path / "copies", spare_bytes=0)


def facts(tmp_path: Path, path: Path) -> FileFacts:
    return FileHashes(tmp_path / "hashes.json").facts(path)


def send(cache: ModelFileCache, file: FileFacts, part_bytes: int) -> None:
    offset = 0
    while offset < file.size_bytes:
        data = read_part(file, offset, part_bytes)
        cache.receive(file, offset, data)
        offset += len(data)


def test_the_same_file_at_the_same_path_is_used(tmp_path: Path, cache: ModelFileCache):
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"weights" * 100)
    file = facts(tmp_path, path)
    assert cache.missing([file]) == []
    assert cache.places([file]) == {str(path): str(path)}


@pytest.mark.parametrize("other", [b"WEIGHTS" * 100, b"short", None])
def test_another_file_at_that_path_is_not(
    tmp_path: Path, cache: ModelFileCache, other: bytes | None
):
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"weights" * 100)
    file = facts(tmp_path, path)
    if other is None:
        path.unlink()
    else:
        path.write_bytes(other)
        os.utime(path, ns=(1, 1))
    assert cache.missing([file]) == [file]
    assert cache.places([file]) == {}


def test_a_file_is_sent_in_parts_and_only_once(tmp_path: Path, cache: ModelFileCache):
    path = tmp_path / "model.safetensors"
    content = bytes(range(256)) * 10
    path.write_bytes(content)
    file = facts(tmp_path, path)
    path.rename(tmp_path / "gone")
    there = FileFacts(str(tmp_path / "gone"), file.size_bytes, file.sha256)
    for offset in range(0, len(content), 1000):
        assert cache.missing([file]) == [file]
        cache.receive(file, offset, read_part(there, offset, 1000))
    assert cache.missing([file]) == []
    copy = Path(cache.places([file])[str(path)])
    assert copy.name == "model.safetensors"
    assert copy.read_bytes() == content
    again = ModelFileCache(tmp_path / "copies", spare_bytes=0)
    assert again.missing([file]) == []


def test_what_changed_on_its_way_is_refused(tmp_path: Path, cache: ModelFileCache):
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"weights")
    file = facts(tmp_path, path)
    path.write_bytes(b"WEIGHTS")
    with pytest.raises(BadFile, match="changed while it was being sent"):
        send(cache, file, 100)
    assert cache.places([file]) == {}
    assert list((tmp_path / "copies").rglob("*.part")) == []
    path.write_bytes(b"WEI")
    with pytest.raises(BadFile, match="changed while it was being sent"):
        send(cache, file, 2)


def test_a_copy_that_has_no_room_is_an_error_and_old_copies_make_room(tmp_path: Path):
    cache, path = ModelFileCache(tmp_path / "copies", spare_bytes=0), tmp_path / "old.bin"
    path.write_bytes(b"old")
    old = facts(tmp_path, path)
    path.write_bytes(b"ol2")
    copy = tmp_path / "copies" / old.sha256 / "old.bin"
    copy.parent.mkdir(parents=True)
    copy.write_bytes(b"old")
    huge = FileFacts("/nowhere/huge.safetensors", 10**18, "0" * 64)
    with pytest.raises(StorageError, match=r"cannot keep a copy of 'huge\.safetensors'"):
        cache.receive(huge, 0, b"begin")
    assert not copy.exists()


def test_a_file_that_is_gone_on_the_server_is_named(tmp_path: Path):
    with pytest.raises(BadFile, match=r"gone\.bin' cannot be read"):
        facts(tmp_path, tmp_path / "gone.bin")


def test_work_names_the_copies_on_the_other_machine(tmp_path: Path, cache: ModelFileCache):
    folder = tmp_path / "models"
    path = write_listed_checkpoint(folder / "a.safetensors", "a")
    index = ModelIndex({"Checkpoint": [folder]}, ROOT / "configs", tmp_path / "cache")
    work = LoadModel(make_model_spec(index, index.find_checkpoint("a"), Settings()))
    packed, paths = pack_work(work)
    assert path in paths
    assert unpack_work(packed, {}) == work
    file = facts(tmp_path, path)
    path.rename(folder / "elsewhere")
    cache.receive(file, 0, (folder / "elsewhere").read_bytes())
    there = unpack_work(packed, cache.places([file]))
    assert isinstance(there, LoadModel)
    copy = there.model.checkpoint
    assert copy.name == work.model.checkpoint.name
    assert copy.path == tmp_path / "copies" / file.sha256 / "a.safetensors"
    assert copy.modified_ns == copy.path.stat().st_mtime_ns
    assert copy.stamp != work.model.checkpoint.stamp
