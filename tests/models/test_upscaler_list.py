"""Upscalers of tables and files under one name, and what is refused before a job begins."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from PIL.Image import Resampling

from modules.core.errors import BadFile, NotFound, Unsupported, UserError
from modules.core.registry import Registry
from modules.infotext import interpret_infotext, parse_infotext
from modules.models.index import ModelIndex
from modules.models.kinds import UPSCALER
from modules.models.upscaler_list import UpscalerList
from modules.models.upscaling.upscalers import UPSCALERS, Upscaler, UpscalerModel
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.params.settings import Settings
from modules.plan.upscaling import Tiles, check_result_size, plan_image_upscaler
from tests.infotext.context import make_context
from tests.models.model_files import CONFIGS, write_safetensors

ESRGAN = {"conv_first.weight": [8, 3, 3, 3], "body.0.rdb1.conv1.weight": [8, 8, 3, 3]}
DAT = {"before_RG.1.weight": [8], "layers.0.blocks.0.attn.channel_interaction.1.weight": [1, 8]}


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    first, second = tmp_path / "ESRGAN", tmp_path / "DAT"
    for path, shapes in (
        (first / "4x-Sharp.safetensors", ESRGAN),
        (first / "RealESRGAN_x4plus.safetensors", ESRGAN),
        (first / "Lanczos.safetensors", ESRGAN),
        (first / "odd.safetensors", {"conv_first.weight": [1]}),
        (second / "DAT_x2.safetensors", DAT),
        (second / "sub" / "4x-Sharp.safetensors", DAT),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_safetensors(path, shapes)
    return first, second


@pytest.fixture
def upscalers(tmp_path: Path, folders: tuple[Path, Path]) -> UpscalerList:
    models = ModelIndex({UPSCALER: folders}, CONFIGS, tmp_path / "cache")
    rows = Registry("upscaler", [UPSCALERS.get("None"), UPSCALERS.get("Lanczos")])
    return UpscalerList(rows, models)


def path_of(upscaler: Upscaler) -> Path:
    assert isinstance(upscaler.method, UpscalerModel)
    return upscaler.method.file.path


def test_files_are_listed_after_the_rows_by_a1111s_names(upscalers: UpscalerList):
    assert upscalers.names() == [
        "None",
        "Lanczos",
        "4x-Sharp",
        "sub/4x-Sharp.safetensors",
        "DAT x2",
        "Lanczos.safetensors",
        "odd",
        "R-ESRGAN 4x+",
    ]


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("R-ESRGAN 4x+", "RealESRGAN_x4plus.safetensors"),
        ("realesrgan_x4plus", "RealESRGAN_x4plus.safetensors"),
        ("RealESRGAN_x4plus.safetensors", "RealESRGAN_x4plus.safetensors"),
        ("dat x2", "DAT_x2.safetensors"),
        ("Lanczos.safetensors", "Lanczos.safetensors"),
    ],
)
def test_a_file_is_found_by_its_names(upscalers: UpscalerList, name: str, file: str):
    assert path_of(upscalers.get(name)).name == file


def test_an_infotext_finds_a_file_by_any_of_its_names(tmp_path: Path, upscalers: UpscalerList):
    context = replace(make_context(tmp_path), upscalers=upscalers)
    text = "a cat\nSteps: 20, Denoising strength: 0.5, Hires upscale: 2, Hires upscaler: RealESRGAN_x4plus"
    result = interpret_infotext(parse_infotext(text), context, Txt2ImgRequest)
    assert result.values["hr_upscaler"] == "R-ESRGAN 4x+"
    result = interpret_infotext(parse_infotext(text + "_2"), context, Txt2ImgRequest)
    assert "There is no upscaler named 'RealESRGAN_x4plus_2'" in str(result.report)


def test_the_first_of_two_files_of_a_name_has_it(
    upscalers: UpscalerList, folders: tuple[Path, Path]
):
    assert path_of(upscalers.get("4x-Sharp")).parent == folders[0]
    assert path_of(upscalers.get("sub/4x-Sharp.safetensors")).parent == folders[1] / "sub"
    assert upscalers.get("Lanczos").method == Resampling.LANCZOS


def test_a_new_file_is_found_without_a_restart(upscalers: UpscalerList, folders: tuple[Path, Path]):
    with pytest.raises(NotFound, match="There is no upscaler named 'new'"):
        upscalers.get("new")
    write_safetensors(folders[0] / "new.safetensors", ESRGAN)
    assert path_of(upscalers.get("new")).name == "new.safetensors"
    assert "new" in upscalers.names()
    (folders[0] / "new.safetensors").unlink()
    with pytest.raises(NotFound, match="is no longer at"):
        upscalers.get("new")


def test_a_file_of_an_unknown_architecture_is_refused(upscalers: UpscalerList):
    with pytest.raises(BadFile, match="is no upscaler of a known architecture"):
        upscalers.get("odd")


def test_tiles_are_those_of_the_architecture(upscalers: UpscalerList):
    settings = Settings(ESRGAN_tile=64, ESRGAN_tile_overlap=4, DAT_tile=16, DAT_tile_overlap=48)
    assert plan_image_upscaler(upscalers.get("R-ESRGAN 4x+"), settings).tiles == Tiles(64, 4)
    # An overlap of the whole tile would never get on.
    assert plan_image_upscaler(upscalers.get("DAT x2"), settings).tiles == Tiles(16, 15)


def test_latents_have_upscalers_of_their_own():
    with pytest.raises(Unsupported, match="'Latent' upscales latents, not finished pictures"):
        plan_image_upscaler(UPSCALERS.get("Latent"), Settings())


def test_a_result_that_is_too_large_is_refused_with_its_pixels_and_memory():
    check_result_size((8192, 8192), Settings())
    sentence = (
        "The picture would have 20000x20000 pixels, 400 million, and need about 4.8 GB of memory; at most 68 million"
        " are allowed."
    )
    with pytest.raises(UserError, match=sentence):
        check_result_size((20000, 20000), Settings())
    check_result_size((20000, 20000), Settings(upscaling_max_megapixels=400))
