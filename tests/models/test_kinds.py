"""Kinds of model files are rows: a new one is listed, found and named in the wrong folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from modules.core.errors import BadFile, NotFound, UserError
from modules.core.paths import Paths
from modules.core.registry import Registry
from modules.models.index import ModelIndex
from modules.models.key_condition import KeyCondition
from modules.models.kinds import ModelKind, make_kind_registry
from tests.models.model_files import CONFIGS, shapes_of, write_safetensors

MOTION = ModelKind(
    "Motion module",
    "motion module",
    lambda paths: paths.model_folders("motion", "AnimateDiff"),
    (".safetensors", ".mm"),
    (KeyCondition(has=("*.motion_modules.0.norm.weight",)),),
    misplaced="is a motion module, not {expected}. It belongs in models/motion.",
)
SHAPES = {"down_blocks.0.motion_modules.0.norm.weight": [4]}


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    (tmp_path / "configs").symlink_to(CONFIGS)
    return Paths(tmp_path, tmp_path)


@pytest.fixture
def kinds() -> Registry[ModelKind]:
    kinds = make_kind_registry()
    kinds.add(MOTION)
    return kinds


@pytest.fixture
def models(paths: Paths, kinds: Registry[ModelKind]) -> ModelIndex:
    return ModelIndex.from_paths(paths, kinds)


def write(paths: Paths, name: str) -> Path:
    return write_safetensors(paths.data / "models" / name, SHAPES)


def test_files_of_a_new_kind_are_listed_from_all_its_folders(models: ModelIndex, paths: Paths):
    for name in ("motion/b.mm", "motion/sub/A.safetensors", "AnimateDiff/b.mm", "motion/no.pt"):
        write(paths, name)
    assert [file.name for file in models.files("Motion module")] == ["b.mm", "sub/A.safetensors"]
    assert models.files("motion MODULE")[0].path == paths.data / "models" / "motion" / "b.mm"


def test_a_file_is_found_with_and_without_folder_and_suffix(models: ModelIndex, paths: Paths):
    write(paths, "motion/sub/Walk.safetensors")
    for name in ("sub/walk.safetensors", "sub\\Walk", "walk.safetensors", " WALK "):
        assert models.find("Motion module", name).name == "sub/Walk.safetensors"


def test_an_unknown_an_ambiguous_and_a_deleted_file_get_a_sentence(
    models: ModelIndex, paths: Paths
):
    first = write(paths, "motion/a/walk.mm")
    write(paths, "motion/b/walk.mm")
    with pytest.raises(
        UserError, match=r"module name 'walk' can mean 'a/walk\.mm' or 'b/walk\.mm'"
    ):
        models.find("Motion module", "walk")
    with pytest.raises(
        NotFound, match=r"no motion module named 'a/wolk'\. Did you mean 'a/walk\.mm'.*/motion\."
    ):
        models.find("Motion module", "a/wolk")
    first.unlink()
    with pytest.raises(NotFound, match=r"The motion module 'a/walk\.mm' is no longer at"):
        models.find("Motion module", "a/walk")


def test_a_new_file_is_listed_after_a_refresh_of_its_kind_or_of_all(
    models: ModelIndex, paths: Paths
):
    assert models.files("Motion module") == ()
    write(paths, "motion/a.mm")
    assert models.files("Motion module") == ()
    models.refresh("Motion module")
    assert [file.name for file in models.files("Motion module")] == ["a.mm"]
    write(paths, "motion/b.mm")
    models.refresh()
    assert [file.name for file in models.files("Motion module")] == ["a.mm", "b.mm"]


def test_a_file_of_a_new_kind_among_the_checkpoints_is_named_with_its_folder(
    models: ModelIndex, paths: Paths
):
    write(paths, "Stable-diffusion/walk.safetensors")
    with pytest.raises(
        BadFile,
        match=r"^'walk\.safetensors' is a motion module, not a checkpoint\. It belongs in models/motion\.$",
    ):
        models.find_checkpoint("walk")
    (listed,) = models.checkpoints()
    assert listed.family == ""


def test_a_file_of_a_new_kind_among_the_text_encoders_is_named(models: ModelIndex, paths: Paths):
    bare = {k: v for k, v in shapes_of("sd1").items() if not k.startswith("cond_stage_model.")}
    write_safetensors(paths.data / "models" / "Stable-diffusion" / "bare.safetensors", bare)
    write(paths, "text_encoder/walk.safetensors")
    with pytest.raises(BadFile, match=r"'walk\.safetensors' there is of type Motion module\."):
        models.find_checkpoint("bare")


def test_a_hash_of_any_file_is_computed_and_cached(models: ModelIndex, paths: Paths):
    write(paths, "motion/a.mm")
    file = models.find("Motion module", "a")
    digest = models.sha256(file)
    models.stop()
    assert len(digest) == 64
    assert ModelIndex.from_paths(paths).sha256(file, timeout_s=0) == digest


def test_suffixes_beside_checkpoints_belong_to_one_kind(paths: Paths, kinds: Registry[ModelKind]):
    kinds.add(
        ModelKind(
            "Note", "note", lambda _: (), (), suffixes_beside_checkpoints=(".note.safetensors",)
        )
    )
    models = ModelIndex.from_paths(paths, kinds)
    write(paths, "Stable-diffusion/a.note.safetensors")
    write(paths, "Stable-diffusion/a.vae.pt")
    assert [file.name for file in models.files("Note")] == ["a.note.safetensors"]
    assert [file.name for file in models.files("VAE")] == ["a.vae.pt"]
    assert models.checkpoints() == ()


@pytest.mark.parametrize(
    ("kind", "folder", "name"),
    [
        ("LoRA", "models/Lora", "a.safetensors"),
        ("LoRA", "models/LyCORIS", "a.pt"),
        ("Embedding", "embeddings", "a.pt"),
        ("Hypernetwork", "models/hypernetworks", "a.pt"),
        ("ControlNet", "models/ControlNet", "a.pth"),
        ("CLIP vision encoder", "models/clip_vision", "a.safetensors"),
        ("Upscaler", "models/ESRGAN", "a.pth"),
        ("Text encoder", "models/text_encoders", "a.bin"),
    ],
)
def test_every_kind_is_listed_from_a1111s_folder(paths: Paths, kind: str, folder: str, name: str):
    file = paths.data / folder / name
    file.parent.mkdir(parents=True)
    file.write_bytes(b"x")
    (listed,) = ModelIndex.from_paths(paths).files(kind)
    assert (listed.name, listed.path) == (name, file)


def test_listing_creates_no_folder(paths: Paths):
    models = ModelIndex.from_paths(paths)
    assert [len(models.files(kind.name)) for kind in models.kinds] == [0] * len(models.kinds)
    assert [path.name for path in paths.data.iterdir()] == ["configs"]


def test_an_unknown_kind_is_not_found(models: ModelIndex):
    with pytest.raises(NotFound, match=r"There is no kind of model file named 'Motion'"):
        models.files("Motion")
