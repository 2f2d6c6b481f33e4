"""Every bundled checkpoint loads through the ordinary loader and follows its prompt."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFilter

from modules.engine.infotext_context import make_infotext_context
from modules.engine.reproduce import parse_for_reproduction
from modules.images.metadata import read_metadata
from modules.models.ldm.yaml import read_yaml
from modules.params.image import ImageField
from modules.params.requests.depth import DepthRequest
from modules.params.requests.txt2img import Txt2ImgRequest
from tests.backend.demo import demo_engine
from tools.demo_model.drawing import draw
from tools.demo_model.scenes import ShapeScene, Thing

ROOT = Path(__file__).resolve().parents[2]
MODELS = sorted((ROOT / "models" / "Stable-diffusion" / "demo").glob("*.safetensors"))
TXT2IMG_MODELS = [file for file in MODELS if file.stem != "demo-depth"]
DEPTH = "demo/demo-depth.safetensors"
MEGABYTE = 1_000_000
SIDE = 256


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    engine = demo_engine(tmp_path_factory.mktemp("data"))
    engine.start()
    yield engine
    engine.stop()


def colour(image: Image.Image, box: tuple[int, int, int, int]) -> np.ndarray:
    return np.asarray(image.crop(box).convert("RGB"), dtype=float).mean(axis=(0, 1))


def generate(engine, request):
    job = engine.submit(request)
    job.wait(120)
    assert job.status().state == "done", job.status().error
    with Image.open(job.status().images[0].path) as image:
        return image.convert("RGB")


def common_fields(prompt, checkpoint):
    size = {"width": SIDE, "height": SIDE}
    return {"prompt": prompt, "sd_model_checkpoint": checkpoint, **size, "seed": 1, "cfg_scale": 5}


@pytest.mark.parametrize("file", TXT2IMG_MODELS, ids=lambda file: file.stem)
def test_a_red_circle_on_blue_is_red_on_blue(engine, file):
    fields = common_fields("a red circle on a blue background", f"demo/{file.name}")
    image = generate(engine, Txt2ImgRequest(**fields))

    red, green, blue = colour(image, (108, 108, 148, 148))
    assert red > 150 > 80 > max(green, blue)
    red, green, blue = colour(image, (0, 0, 256, 24))
    assert blue > 180 and blue - max(red, green) > 50


@pytest.fixture(scope="module")
def white_star() -> tuple[Image.Image, Image.Image]:
    """A rendered image with a star on the right, and its true depth."""
    scene = ShapeScene(3, "gray", (Thing("star", "white"),), "large", "right")
    pixels, depth = draw(scene, SIDE, SIDE)
    return Image.fromarray(pixels), Image.fromarray((depth * 255).round().astype(np.uint8))


@pytest.mark.parametrize("gives_depth", [False, True], ids=["estimated", "provided"])
def test_the_depth_model_repaints_an_image_and_preserves_its_shape(engine, white_star, gives_depth):
    star, depth = white_star
    fields = common_fields("a yellow star on a purple background on the right", DEPTH)
    fields |= {"init_image": ImageField.from_pil(star), "denoising_strength": 1}
    if gives_depth:
        fields["depth_map"] = ImageField.from_pil(depth)
    image = np.asarray(generate(engine, DepthRequest(**fields)), dtype=float)

    inside = np.asarray(depth) > 128
    edge = np.asarray(depth.filter(ImageFilter.FIND_EDGES)) > 0
    near = (
        np.asarray(
            Image.fromarray(edge).resize((64, 64), Image.Resampling.BOX).resize((SIDE, SIDE))
        )
        > 0
    )
    red, green, blue = image[inside & ~near].mean(0)
    assert min(red, green) > 150 > 110 > blue
    red, green, blue = image[~inside & ~near].mean(0)
    assert min(red, blue) > green + 20


def test_four_models_of_different_kinds_are_bundled():
    assert {file.stem for file in MODELS} == {"demo", "demo-depth", "demo-inpainting", "demo-v2"}
    parameterizations = {
        file.stem: read_yaml(file.with_suffix(".yaml"))
        .section("model")
        .section("params")
        .string("parameterization")
        for file in MODELS
    }
    assert parameterizations == {
        "demo": "v",
        "demo-depth": "v",
        "demo-inpainting": "eps",
        "demo-v2": "v",
    }


def test_the_bundled_models_are_small():
    sizes = [file.stat().st_size for file in MODELS]
    assert max(sizes) <= 16 * MEGABYTE
    assert sum(sizes) <= 48 * MEGABYTE


def test_the_default_checkpoint_is_the_plain_demo_model(engine):
    assert engine.find_checkpoint().name == "demo/demo.safetensors"


@pytest.mark.parametrize(
    "fields",
    [
        {
            "prompt": "a red circle",
            "sampler_name": "Euler a",
            "cfg_scale": 1.5,
            "scheduler": "Karras",
        },
        {
            "prompt": 'two\nlines, "quoted": (colon:1.2)',
            "negative_prompt": "Negative prompt: green",
            "subseed": 3,
            "subseed_strength": 0.4,
            "seed_resize_from_w": 128,
            "seed_resize_from_h": 64,
            "override_settings": {"CLIP_stop_at_last_layers": 2, "randn_source": "CPU"},
        },
        {
            "prompt": "[a red:a (green:1.3):0.5] circle",
            "sampler_name": "DPM++ 2M SDE",
            "n_iter": 2,
            "enable_hr": True,
            "hr_scale": 1.5,
            "hr_upscaler": "Latent (nearest-exact)",
            "hr_second_pass_steps": 2,
            "hr_sampler_name": "Euler a",
            "hr_scheduler": "Simple",
            "hr_prompt": "a green: circle, large",
            "denoising_strength": 0.6,
            "override_settings": {
                "eta_noise_seed_delta": 31337,
                "s_noise": 1.01,
                "img2img_extra_noise": 0.1,
            },
        },
    ],
    ids=["plain", "many fields", "hires pass, second of two images"],
)
def test_an_image_is_reproduced_byte_for_byte_from_its_metadata(engine, fields):
    request = Txt2ImgRequest(width=64, height=64, steps=3, **fields)
    job = engine.submit(request)
    assert job.wait(120)
    first = job.status().images[-1].path.read_bytes()
    engine.settings = engine.settings.replace(CLIP_stop_at_last_layers=3, randn_source="NV")
    reading = parse_for_reproduction(read_metadata(first), make_infotext_context(engine))
    again = engine.submit(reading.to_request())
    assert again.wait(120)
    engine.settings = engine.settings.replace(CLIP_stop_at_last_layers=1, randn_source="GPU")
    assert again.status().images[0].path.read_bytes() == first
    assert reading.report.messages() == []
