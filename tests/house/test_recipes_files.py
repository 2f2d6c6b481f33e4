"""The recipes of the floors models and images: what is read from model files, and how images are saved."""

from __future__ import annotations

from pathlib import Path
from typing import IO, Literal

import numpy as np
import pytest
from PIL import Image

from modules.core.errors import BadFile
from modules.core.paths import Paths
from modules.engine.engine import Engine
from modules.engine.registries import Registries
from modules.images.filename import FilenameToken, FilenameTokens
from modules.images.formats import FILE_FORMATS, FileFormat
from modules.images.preprocessors.row import Preprocessor, Slider
from modules.images.preprocessors.sizes import Pixels
from modules.images.preprocessors.table import PREPROCESSORS
from modules.images.save import ImageStore, read_infotext
from modules.models.families import REQUIRED_COMPONENTS, Family
from modules.models.index import ModelIndex
from modules.models.key_condition import KeyCondition
from modules.models.kinds import ModelKind, make_kind_registry
from modules.models.ldm.keys import UNET_INPUT_KEY
from modules.params.param import param
from modules.params.requests.txt2img import Txt2ImgRequest
from modules.params.settings import Settings
from modules.params.settings.saving import SavingSettings
from modules.plan.units.preprocessing import plan_preprocessing
from tests.conftest import SD1_SHAPES, write_listed_checkpoint
from tests.engine.fake_executor import PATIENCE_S

SMALL = Txt2ImgRequest(width=64, height=64, steps=2, seed=1)
WIDE_SHAPES = {**SD1_SHAPES, UNET_INPUT_KEY: [4, 12, 1, 1]}


def save_image(engine: Engine, **options: object) -> Path:
    """Return the file of a small image that was made with these options."""
    job = engine.submit(SMALL.replace(override_settings=options))
    assert job.wait(PATIENCE_S)
    return job.status().images[0].path


@pytest.fixture
def wide_registries(registries: Registries) -> Registries:
    """Add a family before there is an engine."""
    row = Family(
        "SD 1.x wide",
        (KeyCondition(sizes={(UNET_INPUT_KEY, 1): 12}),),
        config_file="v1-inference.yaml",
        component_keys=REQUIRED_COMPONENTS,
        native_size=640,
    )
    registries.families.add(row, before="SD 1.x")
    return registries


def test_a_model_family_is_a_row_and_a_header(wide_registries: Registries, engine: Engine):
    file = engine.paths.data / "models" / "Stable-diffusion" / "wide.safetensors"
    write_listed_checkpoint(file, shapes=WIDE_SHAPES)
    engine.models.refresh()
    checkpoint = engine.models.find_checkpoint("wide")
    assert checkpoint.family == "SD 1.x wide"
    assert engine.models.find_config(checkpoint).name == "v1-inference.yaml"
    job = engine.submit(SMALL.replace(sd_model_checkpoint="wide"))
    assert job.wait(PATIENCE_S)
    assert "Model: wide" in job.status().images[0].infotext
    assert engine.models.find_checkpoint("first").family == "SD 1.x"


def test_a_preprocessor_is_a_function_and_a_row(paths: Paths):
    def posterize(image: Pixels, _resolution: int, step: float, *_: object) -> Pixels:
        return (image // int(step) * int(step)).astype(np.uint8)

    table = PREPROCESSORS.copy()
    slider = Slider("Step", 64, 2, 128)
    table.add(Preprocessor("posterize", ("Tile",), compute=posterize, a=slider))
    models = ModelIndex.from_paths(paths)
    preprocessing = plan_preprocessing(models, "Posterize", (-1, 999, -1), table=table)
    assert preprocessing.compute(np.full((1, 1, 3), 130, np.uint8)).tolist() == [[[128] * 3]]
    assert not preprocessing.needs_device


def test_a_kind_of_model_file_is_a_row(paths: Paths):
    row = ModelKind(
        "Motion module",
        "motion module",
        lambda paths: paths.model_folders("motion"),
        (".safetensors",),
        (KeyCondition(has=("motion_modules.*",)),),
        misplaced="is a motion module, not {expected}. It belongs in models/motion.",
    )
    kinds = make_kind_registry()
    kinds.add(row)
    models = paths.data / "models"
    for folder in ("motion", "Stable-diffusion"):
        shapes = {"motion_modules.0.weight": [4, 4]}
        write_listed_checkpoint(models / folder / "walk.safetensors", shapes=shapes)
    index = ModelIndex.from_paths(paths, kinds)
    assert index.find("Motion module", "walk").path == models / "motion" / "walk.safetensors"
    with pytest.raises(BadFile, match=r"'walk\.safetensors' is a motion module, not a checkpoint"):
        index.find_checkpoint("walk")


def test_a_filename_token_is_a_function(engine: Engine):
    def megapixels(tokens: FilenameTokens, arguments: list[str]) -> str:
        return f"{int(tokens.values['width']) * int(tokens.values['height']) / 1e6:.3f}MP"

    engine.registries.filename_tokens.add(FilenameToken("megapixels", megapixels))
    path = save_image(engine, samples_filename_pattern="[megapixels]-[seed]")
    assert path.name == "00000-0.004MP-1.png"


class BitmapSettings(Settings):
    """Settings whose images can be bitmaps, too."""

    samples_format: Literal["png", "jpg", "webp", "bmp"] = param(
        "png", "File format for images", help="bmp keeps every pixel, too.", section="saving"
    )


def test_a_file_format_of_images_is_a_function_and_a_row(tmp_path: Path):
    def write_bmp(file: IO[bytes], image: Image.Image, text: str, settings: SavingSettings) -> None:
        image.save(file, format="BMP")

    store = ImageStore(tmp_path, {**FILE_FORMATS, "bmp": FileFormat(write_bmp, 65535)})
    settings = BitmapSettings(samples_format="bmp")
    path = store.save(Image.new("RGB", (8, 8)), "Steps: 1", FilenameTokens("txt2img", 1), settings)
    assert path.suffix == ".bmp"
    assert Image.open(path).format == "BMP"
    assert read_infotext(path) == ""
