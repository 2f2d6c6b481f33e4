from __future__ import annotations

from pathlib import Path

import pytest

from modules.models.compatibility import incompatibility
from modules.models.index import ModelIndex
from tests.conftest import SD1_SHAPES, write_listed_checkpoint, write_listed_depth
from tests.models.model_files import CONFIGS


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_listed_checkpoint(tmp_path / "models" / "plain.safetensors")
    return tmp_path / "models"


def reason(folder: Path, task, name: str, **options) -> str:
    manager = ModelIndex({"Checkpoint": [folder]}, CONFIGS, folder.parent / "cache")
    return str(incompatibility(task, manager, manager.find_checkpoint(name), **options) or "")


def test_a_plain_checkpoint_can_do_txt2img(folder: Path):
    assert reason(folder, "txt2img", "plain") == ""


def test_a_depth_checkpoint_needs_its_estimator_or_a_depth_map(folder: Path):
    write_listed_depth(folder / "depth.safetensors")
    write_listed_depth(folder / "pruned.safetensors", with_estimator=False)
    assert reason(folder, "depth2img", "depth") == ""
    assert reason(folder, "depth2img", "pruned", has_depth_map=True) == ""
    assert reason(folder, "depth2img", "pruned") == (
        "'pruned.safetensors' has no depth estimator. Provide a depth map."
    )


def test_a_depth_checkpoint_cannot_do_txt2img(folder: Path):
    write_listed_depth(folder / "depth.safetensors")
    assert reason(folder, "txt2img", "depth") == (
        "'depth.safetensors' generates from the depth of an image, not from a prompt alone. "
        "Use it in the Depth tab, or choose 'plain.safetensors'."
    )


INPUT_CHANNELS = {"inpainting": 9, "instruct": 8, "depth": 5, "plain": 4}


@pytest.fixture
def all_kinds(folder: Path) -> Path:
    for name, channels in INPUT_CHANNELS.items():
        conv_in = {"model.diffusion_model.input_blocks.0.0.weight": [4, channels, 1, 1]}
        write_listed_checkpoint(folder / f"{name}.safetensors", name, SD1_SHAPES | conv_in)
    return folder


@pytest.mark.parametrize(
    ("task", "compatible"),
    [
        ("txt2img", ["inpainting", "instruct", "plain"]),
        ("img2img", ["inpainting", "plain"]),
        ("inpaint", ["inpainting", "plain"]),
        ("depth2img", ["depth"]),
    ],
)
def test_each_task_suggests_the_compatible_checkpoints(
    all_kinds: Path, task, compatible: list[str]
):
    reasons = {name: reason(all_kinds, task, name, has_depth_map=True) for name in INPUT_CHANNELS}
    assert sorted(name for name, text in reasons.items() if not text) == compatible
    suggested = " or ".join(f"'{name}.safetensors'" for name in compatible)
    assert all(text.endswith(f"hoose {suggested}.") for text in reasons.values() if text)


def test_a_depth_checkpoint_does_not_support_masks(all_kinds: Path):
    assert reason(all_kinds, "inpaint", "depth").startswith(
        "'depth.safetensors' generates whole images from their depth and does not support masks. Use it in the Depth tab, or choose "
    )


def test_depth2img_suggests_the_depth_checkpoints(folder: Path):
    write_listed_depth(folder / "a.safetensors")
    write_listed_depth(folder / "sub" / "b.safetensors")
    (folder / "broken.safetensors").write_bytes(b"nothing")
    assert reason(folder, "depth2img", "plain") == (
        "'plain.safetensors' is not a depth checkpoint, and the Depth tab needs one. "
        "Choose 'a.safetensors' or 'sub/b.safetensors'."
    )


def test_at_most_five_checkpoints_are_suggested(folder: Path):
    for number in range(7):
        write_listed_depth(folder / f"d{number}.safetensors")
    assert reason(folder, "depth2img", "plain").endswith("'d4.safetensors' or another.")


def test_without_any_depth_checkpoint_the_published_one_is_suggested(folder: Path):
    assert reason(folder, "depth2img", "plain").endswith(
        "Put one, such as 512-depth-ema.ckpt, into models/Stable-diffusion and choose it."
    )
