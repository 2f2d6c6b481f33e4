"""Every checkpoint in the box loads through the ordinary loader and draws what is asked."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from modules.core.paths import Paths
from modules.engine.engine import Engine
from modules.engine.executors.local import LocalExecutor
from modules.params.device import DeviceOptions
from modules.params.request import Txt2ImgRequest
from modules.prompt.tokens import ClipTokenizer

ROOT = Path(__file__).resolve().parents[2]
MODELS = sorted((ROOT / "models" / "Stable-diffusion" / "demo").glob("*.safetensors"))


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    paths = Paths(ROOT, tmp_path_factory.mktemp("data"))
    tokenizer = ClipTokenizer(paths.configs / "clip" / "bpe_simple_vocab_16e6.txt.gz")
    made = Engine(paths, LocalExecutor(DeviceOptions(use_cpu=True), tokenizer), tokenizer)
    made.start()
    yield made
    made.stop()


def colour(image: Image.Image, box: tuple[int, int, int, int]) -> np.ndarray:
    return np.asarray(image.crop(box).convert("RGB"), dtype=float).mean(axis=(0, 1))


@pytest.mark.parametrize("file", MODELS, ids=lambda file: file.stem)
def test_a_red_circle_on_blue_is_red_on_blue(engine, file):
    request = Txt2ImgRequest(
        prompt="a red circle on a blue background",
        sd_model_checkpoint=f"demo/{file.name}",
        width=256,
        height=256,
        seed=1,
        cfg_scale=5,
    )

    job = engine.submit(request)
    job.wait(120)

    (made,) = job.status().images
    with Image.open(made.path) as image:
        red, green, blue = colour(image, (108, 108, 148, 148))
        assert red > 150 > 80 > max(green, blue)
        red, green, blue = colour(image, (0, 0, 256, 24))
        assert blue > 180 and blue - max(red, green) > 50


def test_the_box_holds_three_models_of_different_kinds():
    assert {file.stem for file in MODELS} == {"demo", "demo-inpainting", "demo-v2"}


def test_a_newcomer_starts_with_the_plain_demo_model(engine):
    assert engine.checkpoint().name == "demo/demo.safetensors"
