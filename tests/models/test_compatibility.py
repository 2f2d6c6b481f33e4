from __future__ import annotations

from pathlib import Path

import pytest

from modules.models.compatibility import incompatibility
from modules.models.manager import ModelManager
from tests.conftest import SD1_SHAPES, write_listed_checkpoint, write_listed_depth
from tests.models.model_files import CONFIGS


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_listed_checkpoint(tmp_path / "models" / "plain.safetensors")
    return tmp_path / "models"


def said(folder: Path, task, name: str, **known) -> str:
    manager = ModelManager([folder], CONFIGS, folder.parent / "cache")
    return str(incompatibility(task, manager, manager.find(name), **known) or "")


def test_a_plain_checkpoint_makes_pictures_from_words(folder: Path):
    assert said(folder, "txt2img", "plain") == ""


def test_a_depth_checkpoint_repaints_with_its_estimator_or_a_map(folder: Path):
    write_listed_depth(folder / "depth.safetensors")
    write_listed_depth(folder / "pruned.safetensors", with_estimator=False)
    assert said(folder, "depth2img", "depth") == ""
    assert said(folder, "depth2img", "pruned", has_depth_map=True) == ""
    assert said(folder, "depth2img", "pruned") == (
        "'pruned.safetensors' has no depth estimator. Provide a depth map."
    )


def test_words_alone_are_too_little_for_a_depth_checkpoint(folder: Path):
    write_listed_depth(folder / "depth.safetensors")
    assert said(folder, "txt2img", "depth") == (
        "'depth.safetensors' generates from the depth of an image, not from a prompt alone. "
        "Use it in the Depth tab, or choose 'plain.safetensors'."
    )


SEES = {"inpainting": 9, "instruct": 8, "depth": 5, "plain": 4}


@pytest.fixture
def all_kinds(folder: Path) -> Path:
    for name, channels in SEES.items():
        first = {"model.diffusion_model.input_blocks.0.0.weight": [4, channels, 1, 1]}
        write_listed_checkpoint(folder / f"{name}.safetensors", name, SD1_SHAPES | first)
    return folder


@pytest.mark.parametrize(
    ("task", "able"),
    [
        ("txt2img", ["inpainting", "instruct", "plain"]),
        ("img2img", ["inpainting", "plain"]),
        ("inpaint", ["inpainting", "plain"]),
        ("depth2img", ["depth"]),
    ],
)
def test_each_task_says_which_checkpoints_can(all_kinds: Path, task, able: list[str]):
    refusals = {name: said(all_kinds, task, name, has_depth_map=True) for name in SEES}
    assert sorted(name for name, refusal in refusals.items() if not refusal) == able
    named = " or ".join(f"'{name}.safetensors'" for name in able)
    assert all(refusal.endswith(f"hoose {named}.") for refusal in refusals.values() if refusal)


def test_a_mask_is_nothing_for_a_depth_checkpoint(all_kinds: Path):
    assert said(all_kinds, "inpaint", "depth").startswith(
        "'depth.safetensors' generates whole images from their depth and does not support masks. Use it in the Depth tab, or choose "
    )


def test_depth_checkpoints_are_named_where_another_was_chosen(folder: Path):
    write_listed_depth(folder / "a.safetensors")
    write_listed_depth(folder / "sub" / "b.safetensors")
    (folder / "broken.safetensors").write_bytes(b"nothing")
    assert said(folder, "depth2img", "plain") == (
        "'plain.safetensors' is not a depth checkpoint, and the Depth tab needs one. "
        "Choose 'a.safetensors' or 'sub/b.safetensors'."
    )


def test_of_many_depth_checkpoints_five_are_named(folder: Path):
    for number in range(7):
        write_listed_depth(folder / f"d{number}.safetensors")
    assert said(folder, "depth2img", "plain").endswith("'d4.safetensors' or another.")


def test_without_any_depth_checkpoint_the_official_one_is_named(folder: Path):
    assert said(folder, "depth2img", "plain").endswith(
        "Put one, such as 512-depth-ema.ckpt, into models/Stable-diffusion and choose it."
    )
