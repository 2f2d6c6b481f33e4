"""The demo checkpoints in img2img, inpainting, outpainting and depth2img."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageFilter

from modules.engine.engine import Engine
from modules.images.inpaint.mask import blur_mask
from modules.params.image import ImageField
from modules.params.image_kinds import MASK
from modules.params.requests.depth import DepthRequest
from modules.params.requests.img2img import Img2ImgRequest
from tests.backend.demo import demo_engine
from tools.demo_model.drawing import draw
from tools.demo_model.scenes import Landscape, ShapeScene, Thing

ROOT = Path(__file__).resolve().parents[2]
SIDE = 256
BOX = (16, 64, 120, 200)
RED_CIRCLE = "a red circle on the left on a gray background"
PLAIN, INPAINTING, DEPTH = (
    f"demo/demo{kind}.safetensors" for kind in ("", "-inpainting", "-depth")
)


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    engine = demo_engine(tmp_path_factory.mktemp("data"))
    engine.start()
    yield engine
    engine.stop()


@pytest.fixture(scope="module")
def star() -> Image.Image:
    """A white star on grey; its left arm is under the mask."""
    pixels, _ = draw(ShapeScene(3, "gray", (Thing("star", "white"),), "large", "right"), SIDE, SIDE)
    return Image.fromarray(pixels)


def mask_of(
    size: tuple[int, int] = (SIDE, SIDE), box: tuple[int, int, int, int] = BOX
) -> Image.Image:
    mask = Image.new("L", size)
    mask.paste(255, box)
    return mask


def generate(engine: Engine, request: Any) -> Image.Image:
    job = engine.submit(request)
    job.wait(120)
    assert job.status().state == "done", job.status().error
    with Image.open(job.status().images[0].path) as image:
        return image.convert("RGB")


def repaint(
    engine: Engine, image: Image.Image, mask: Image.Image | None = None, **fields: Any
) -> np.ndarray:
    defaults = {
        "init_image": ImageField.from_pil(image),
        "mask": None if mask is None else ImageField.from_pil(mask, MASK),
        "sd_model_checkpoint": PLAIN,
        "prompt": RED_CIRCLE,
        "sampler_name": "Euler",
        "width": SIDE,
        "height": SIDE,
        "steps": 12,
        "seed": 1,
        "cfg_scale": 5,
        "denoising_strength": 1,
    }
    return np.asarray(generate(engine, Img2ImgRequest(**{**defaults, **fields})))


def within(pixels: np.ndarray, box: tuple[int, int, int, int] = BOX) -> np.ndarray:
    left, top, right, bottom = box
    return pixels[top:bottom, left:right].astype(float)


def red_share(pixels: np.ndarray) -> float:
    """Return the share of pixels that are clearly red."""
    red, green, blue = np.moveaxis(pixels.astype(int), -1, 0)
    return float((red - np.maximum(green, blue) > 80).mean())


def unmasked(mask: Image.Image, blur: float = 4) -> np.ndarray:
    """Return which pixels are outside the blurred mask."""
    return np.asarray(blur_mask(mask, blur, blur)) == 0


def test_a_low_strength_preserves_the_image_and_a_high_one_changes_it(
    engine: Engine, star: Image.Image
):
    prompt = "a red circle on a blue background"
    weak, strong = (
        repaint(engine, star, prompt=prompt, denoising_strength=strength)
        for strength in (0.05, 0.9)
    )
    original = np.asarray(star).astype(int)
    assert np.abs(weak - original).mean() < 12 < 60 < np.abs(strong - original).mean()
    assert red_share(weak) == 0 and red_share(strong) > 0.05


@pytest.mark.parametrize("checkpoint", [PLAIN, INPAINTING])
@pytest.mark.parametrize("sampler", ["Euler", "DDIM"])
def test_the_prompt_appears_under_the_mask_and_no_other_byte_changes(
    engine: Engine, star: Image.Image, checkpoint: str, sampler: str
):
    mask = mask_of()
    pixels = repaint(engine, star, mask, sd_model_checkpoint=checkpoint, sampler_name=sampler)
    outside = unmasked(mask)
    assert np.array_equal(pixels[outside], np.asarray(star)[outside])
    assert red_share(within(pixels)) > 0.3


def test_an_inverted_mask_repaints_the_unmasked_part(engine: Engine, star: Image.Image):
    mask = mask_of()
    pixels = repaint(engine, star, mask, inpainting_mask_invert=True, steps=2)
    outside = unmasked(Image.fromarray(255 - np.asarray(mask)))
    assert np.array_equal(pixels[outside], np.asarray(star)[outside])
    assert np.abs(pixels[:, 200:].astype(int) - np.asarray(star)[:, 200:]).mean() > 10


def test_masked_contents_match_their_names(engine: Engine):
    """Strength 0 runs one step at the last sigma, so the masked content stays visible."""
    image = Image.new("RGB", (SIDE, SIDE), (60, 90, 200))
    image.paste((250, 250, 250), (40, 88, 96, 176))
    results = {
        content: within(
            repaint(
                engine, image, mask_of(), denoising_strength=0, prompt="", inpainting_fill=content
            )
        )[40:-40, 30:-30]
        for content in range(4)
    }
    fill, original, noise, nothing = (results[content] for content in range(4))
    assert np.abs(original - 250).mean() < 25
    assert np.abs(fill - (60, 90, 200)).mean() < 35, "the colour around"
    assert noise.std(axis=(0, 1)).mean() > 2 * max(
        fill.std(axis=(0, 1)).mean(), nothing.std(axis=(0, 1)).mean()
    )
    assert np.abs(nothing - fill).mean() > 15 < np.abs(nothing - original).mean()


def test_only_masked_repaints_the_mask_and_preserves_the_photos_resolution(
    engine: Engine, star: Image.Image
):
    grain = np.random.default_rng(0).integers(-20, 20, (800, 1000, 3))
    photo = Image.fromarray(
        (np.asarray(star.resize((1000, 800))) + grain).clip(0, 255).astype(np.uint8)
    )
    mask = mask_of(photo.size, (60, 200, 460, 600))
    pixels = repaint(
        engine, photo, mask, inpaint_full_res=True, prompt="a red circle", inpainting_fill=0
    )
    outside = unmasked(mask)
    assert pixels.shape == (800, 1000, 3)
    assert np.array_equal(pixels[outside], np.asarray(photo)[outside])
    assert red_share(within(pixels, (60, 200, 460, 600))) > 0.1


def test_soft_inpainting_replaces_what_changed_and_no_byte_far_from_the_mask(
    engine: Engine, star: Image.Image
):
    soft = {"soft_inpainting_enabled": True, "mask_blur": 16, "inpainting_fill": 0}
    pixels = repaint(engine, star, mask_of(), **soft)
    # What changed spreads by up to five cells of eight pixels, and its edge is blurred by 4.
    reach = 2 * (5 * 8 + 3 * 4) + 1
    far = unmasked(mask_of().filter(ImageFilter.MaxFilter(reach)), 16)
    assert far.mean() > 0.1
    assert np.array_equal(pixels[far], np.asarray(star)[far])
    assert red_share(within(pixels)) > 0.2


@pytest.mark.parametrize("checkpoint", [PLAIN, INPAINTING])
def test_outpainting_extends_an_image(engine: Engine, star: Image.Image, checkpoint: str):
    pixels = repaint(
        engine,
        star,
        prompt="a white star on a gray background",
        width=SIDE + 128,
        outpaint_left=128,
        inpainting_fill=0,
        sd_model_checkpoint=checkpoint,
    )
    assert pixels.shape == (SIDE, SIDE + 128, 3)
    assert np.array_equal(pixels[:, 128 + 20 :], np.asarray(star)[:, 20:]), (
        "eight pixels and their blur are repainted"
    )
    new = pixels[:, :110].astype(float)
    assert np.ptp(new.mean(axis=(0, 1))) < 40 and 80 < new.mean() < 235, (
        "grey, possibly with a part of a star"
    )


def test_latents_can_be_upscaled(engine: Engine, star: Image.Image):
    pixels = repaint(
        engine, star.resize((128, 128)), resize_mode=3, steps=2, denoising_strength=0.3
    )
    assert pixels.shape == (SIDE, SIDE, 3)


def test_colour_correction_restores_the_init_images_colours(engine: Engine, star: Image.Image):
    prompt = "a red circle on a blue background"
    pixels = repaint(
        engine, star, prompt=prompt, override_settings={"img2img_color_correction": True}
    )
    assert red_share(pixels) < 0.02
    assert np.ptp(pixels.reshape(-1, 3).mean(axis=0)) < 15


def test_depth2img_preserves_the_scene_while_the_prompt_changes_it(engine: Engine):
    pixels, depth = draw(Landscape(5, "day", "hills", "house", "red", "left"), SIDE, SIDE)
    fields = {
        "width": SIDE,
        "height": SIDE,
        "steps": 12,
        "seed": 1,
        "cfg_scale": 5,
        "sampler_name": "Euler",
    }
    request = DepthRequest(
        prompt="a house with a red roof on the left on hills at night",
        sd_model_checkpoint=DEPTH,
        init_image=ImageField.from_pil(Image.fromarray(pixels)),
        denoising_strength=0.95,
        **fields,
    )
    night = generate(engine, request)
    sky = (96, 0, SIDE, 48)
    assert within(np.asarray(night), sky).mean() < 100 < within(pixels, sky).mean()
    engine.select_checkpoint(DEPTH)
    estimated = engine.estimate_depth(ImageField.from_pil(night), (SIDE, SIDE))
    assert np.corrcoef(np.asarray(estimated).ravel(), depth.ravel())[0, 1] > 0.9


def test_an_image_is_found_again_from_its_own_noise_and_not_from_that_of_a_seed(
    engine: Engine, star: Image.Image
):
    fields = {"prompt": "a white star on a gray background", "cfg_scale": 1, "steps": 20}
    decode = {
        "decode_steps": 20,
        "decode_prompt": fields["prompt"],
        "decode_sigma_adjustment": True,
    }
    found, drawn = (repaint(engine, star, **fields, **each) for each in (decode, {}))
    original = np.asarray(star, float)
    errors = [float(np.square(image - original).mean()) for image in (found, drawn)]
    assert errors[0] < errors[1] / 4
