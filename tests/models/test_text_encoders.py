"""Which text encoder is chosen for a checkpoint without one: real headers, no weights."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from modules.core.errors import BadFile
from modules.models.checkpoint import Checkpoint
from modules.models.families import make_family_registry
from modules.models.files.header import Header, TensorInfo, read_header
from modules.models.index import ModelIndex
from modules.models.kinds import Detection, detect, find_checkpoint_error, make_kind_registry
from modules.models.text_encoders import (
    TextEncoderFile,
    TextEncoderInfo,
    detect_text_encoder,
)
from tests.models.model_files import (
    CONFIGS,
    header_of,
    shapes_of,
    text_shapes,
    vit_h_shapes,
    write_safetensors,
)

KEY_PREFIXES = [
    ("sd1", "text_model."),
    ("sd1", "transformer.text_model."),
    ("sd1", "cond_stage_model.transformer.text_model."),
    ("sd1", ""),
    ("sd2", "cond_stage_model.model."),
    ("sd2", ""),
]


def without_text_encoder(name: str) -> dict[str, list[int]]:
    return {k: v for k, v in shapes_of(name).items() if not k.startswith("cond_stage_model.")}


def with_width(shapes: dict[str, list[int]], width: int) -> dict[str, list[int]]:
    return {k: [width if size == 768 else size for size in v] for k, v in shapes.items()}


def header(shapes: dict[str, list[int]]) -> Header:
    infos = {name: TensorInfo(tuple(shape), "F16") for name, shape in shapes.items()}
    return Header(infos, {}, "safetensors")


def found(header: Header) -> Detection:
    return detect(header, make_kind_registry(), make_family_registry())


def choose(models: ModelIndex, checkpoint: Checkpoint) -> TextEncoderFile | None:
    """Return the file of the checkpoint's one text encoder."""
    (file,) = models.find_text_encoders(checkpoint)
    return file


@pytest.fixture
def manager(tmp_path: Path) -> ModelIndex:
    return ModelIndex(
        {"Checkpoint": [tmp_path / "models"], "Text encoder": [tmp_path / "text_encoder"]},
        CONFIGS,
        tmp_path / "cache",
    )


@pytest.fixture
def bare(manager: ModelIndex, tmp_path: Path):
    """Return a function that lists a checkpoint without a text encoder together with other files."""

    def write_and_list(family: str = "sd1", **others: dict[str, list[int]]) -> Checkpoint:
        write_safetensors(tmp_path / "models" / "bare.safetensors", without_text_encoder(family))
        for name, shapes in others.items():
            folder = tmp_path / ("text_encoder" if name.startswith("text_") else "models")
            write_safetensors(folder / f"{name.removeprefix('text_')}.safetensors", shapes)
        manager.refresh()
        return next(c for c in manager.checkpoints() if c.name == "bare.safetensors")

    return write_and_list


@pytest.mark.parametrize(
    ("file", "info"),
    [
        ("sd1", TextEncoderInfo("CLIP", 768, is_included=True)),
        ("sd1-unet-alone", TextEncoderInfo("CLIP", 768)),
        ("sd2-depth", TextEncoderInfo("OpenCLIP", 1024, is_included=True)),
        ("vae", TextEncoderInfo()),
    ],
)
def test_the_text_encoder_that_a_file_contains_or_needs_is_detected(
    file: str, info: TextEncoderInfo
):
    assert detect_text_encoder(header_of(file)) == info


@pytest.mark.parametrize(
    "family", ["sd1", "sd1-inpainting", "instruct-pix2pix", "sd2", "sd2-inpainting", "sd2-depth"]
)
def test_the_family_is_detected_without_the_text_encoder(family: str):
    whole, bare = header_of(family), header(without_text_encoder(family))
    assert found(bare) == found(whole)
    assert find_checkpoint_error(bare, found(bare)) == ""
    assert detect_text_encoder(bare) == detect_text_encoder(whole)._replace(is_included=False)


@pytest.mark.parametrize("name", ["demo", "demo-v2", "demo-inpainting"])
def test_the_family_of_a_small_model_is_detected_without_its_text_encoder(name: str):
    demo = CONFIGS.parent / "models" / "Stable-diffusion" / "demo" / f"{name}.safetensors"
    whole = read_header(demo)
    tensors = {k: v for k, v in whole.tensors.items() if not k.startswith("cond_stage_model.")}
    bare = Header(tensors, {}, "safetensors")
    assert found(bare) == found(whole)
    assert detect_text_encoder(bare) == detect_text_encoder(whole)._replace(is_included=False)


@pytest.mark.parametrize(("file", "prefix"), KEY_PREFIXES)
def test_a_text_encoder_is_detected_with_every_usual_key_prefix(file: str, prefix: str):
    alone = header(text_shapes(file, prefix))
    assert found(alone).name == "Text encoder"
    error = find_checkpoint_error(alone, found(alone))
    assert error.endswith("It belongs in models/text_encoder.")
    assert detect_text_encoder(alone) == detect_text_encoder(header_of(file))


def test_open_clip_in_transformers_layout_is_detected_by_its_width():
    assert detect_text_encoder(header(vit_h_shapes(23))) == TextEncoderInfo(
        "OpenCLIP", 1024, is_included=True
    )


@pytest.mark.parametrize(("file", "prefix"), KEY_PREFIXES)
def test_a_file_in_the_folder_is_chosen(bare, manager: ModelIndex, file: str, prefix: str):
    found = bare(file, text_clip=text_shapes(file, prefix), whole=shapes_of(file))
    assert found.error == ""
    chosen = choose(manager, found)
    assert chosen is not None
    assert (chosen.name, chosen.is_checkpoint) == ("clip.safetensors", False)


def test_the_file_named_like_the_checkpoint_comes_first_then_the_first_by_name(
    bare, manager: ModelIndex, tmp_path: Path
):
    clip = text_shapes("sd1", "text_model.")
    found = bare(text_a=clip, text_bare=clip, text_c=clip)
    assert choose(manager, found).name == "bare.safetensors"
    (tmp_path / "text_encoder" / "bare.safetensors").unlink()
    assert choose(manager, found).name == "a.safetensors"


def test_another_checkpoint_of_the_kind_is_chosen_a_plain_one_first(
    bare, manager: ModelIndex, tmp_path: Path
):
    others = {
        "a": shapes_of("sd1-inpainting"),
        "b": shapes_of("sd2"),
        "c": shapes_of("sd1"),
        "d": shapes_of("sd1"),
    }
    found = bare(**others)
    chosen = choose(manager, found)
    assert (chosen.name, chosen.is_checkpoint) == ("c.safetensors", True)
    (tmp_path / "models" / "c.safetensors").unlink()
    assert choose(manager, found).name == "d.safetensors"
    (tmp_path / "models" / "d.safetensors").unlink()
    manager.refresh()
    assert choose(manager, found).name == "a.safetensors"


def test_sd_2_uses_the_text_encoder_of_sd_2(bare, manager: ModelIndex):
    found = bare("sd2", a=shapes_of("sd1"), b=shapes_of("sd2"))
    assert choose(manager, found).name == "b.safetensors"


def test_a_checkpoint_with_its_own_text_encoder_uses_no_other(bare, manager: ModelIndex):
    bare(whole=shapes_of("sd1"), text_clip=text_shapes("sd1", ""))
    assert choose(manager, manager.find_checkpoint("whole")) is None


@pytest.mark.parametrize(
    ("family", "needed"), [("sd1", "a CLIP of width 768"), ("sd2", "an OpenCLIP of width 1024")]
)
def test_without_any_the_error_says_which_file_to_add_where(
    bare, manager: ModelIndex, family: str, needed: str
):
    other = "sd2" if family == "sd1" else "sd1"
    found = bare(family, other=shapes_of(other))
    assert found.error == (
        f"'bare.safetensors' lacks its text encoder. Put {needed} into models/text_encoder."
    )
    with pytest.raises(BadFile, match="lacks its text encoder"):
        manager.find_checkpoint("bare")


def test_unusable_files_in_the_folder_are_named(bare, manager: ModelIndex, tmp_path: Path):
    (tmp_path / "text_encoder").mkdir()
    (tmp_path / "text_encoder" / "cut.safetensors").write_bytes(b"")
    narrow = with_width(text_shapes("sd1", "text_model."), 512)
    found = bare(text_narrow=narrow, text_vae=shapes_of("vae"))
    assert found.error.endswith(
        "'cut.safetensors' there cannot be read. 'narrow.safetensors' there is a CLIP of width 512. "
        "'vae.safetensors' there is of type VAE."
    )


def test_a_refresh_finds_added_files(bare, manager: ModelIndex, tmp_path: Path):
    assert bare().error
    write_safetensors(
        tmp_path / "text_encoder" / "sub" / "l.safetensors", text_shapes("sd1", "text_model.")
    )
    manager.refresh()
    assert manager.find_checkpoint("bare").error == ""
    assert choose(manager, manager.find_checkpoint("bare")).name == "sub/l.safetensors"


def test_the_text_encoder_of_each_file_is_cached_across_a_restart(
    bare, manager: ModelIndex, tmp_path: Path
):
    bare(whole=shapes_of("sd1"))
    rows = json.loads((tmp_path / "cache" / "verdicts.json").read_text())["files"]
    assert sorted(row[6] for row in rows) == [[["CLIP", 768, False]], [["CLIP", 768, True]]]
    restarted = ModelIndex({"Checkpoint": [tmp_path / "models"]}, CONFIGS, tmp_path / "cache")
    assert choose(restarted, restarted.find_checkpoint("bare")).name == "whole.safetensors"
