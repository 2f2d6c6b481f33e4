from __future__ import annotations

from pathlib import Path

import pytest

from modules.core.errors import NotFound
from modules.models.index import ModelIndex
from modules.plan.checkpoints.finder import CheckpointFinder
from tests.conftest import ROOT, write_listed_checkpoint, write_listed_depth


@pytest.fixture
def finder(tmp_path: Path) -> CheckpointFinder:
    models = ModelIndex({"Checkpoint": [tmp_path]}, ROOT / "configs", tmp_path / "cache")
    return CheckpointFinder(models, tmp_path, tmp_path / "demo")


def test_the_default_is_the_users_first_plain_checkpoint(finder: CheckpointFinder, tmp_path: Path):
    demo = write_listed_checkpoint(tmp_path / "demo" / "a.safetensors")
    assert finder.find("").path == demo
    depth = write_listed_depth(tmp_path / "b.safetensors")
    finder.models.refresh()
    assert finder.find("").path == depth
    plain = write_listed_checkpoint(tmp_path / "c.safetensors")
    finder.models.refresh()
    assert finder.find("").path == plain
    assert [finder.is_demo(finder.find(name)) for name in ("c", "demo/a")] == [False, True]


def test_a_damaged_checkpoint_is_not_the_default(finder: CheckpointFinder, tmp_path: Path):
    (tmp_path / "a.safetensors").write_bytes(b"nothing")
    good = write_listed_checkpoint(tmp_path / "b.safetensors")
    assert finder.find("").path == good


def test_without_a_checkpoint_the_folder_is_named(finder: CheckpointFinder, tmp_path: Path):
    with pytest.raises(NotFound, match="There is no usable checkpoint") as caught:
        finder.find("")
    assert str(tmp_path) in caught.value.hint
