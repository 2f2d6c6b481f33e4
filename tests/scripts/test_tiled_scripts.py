"""SD upscale and A1111's two outpainting scripts: which parts are repainted, and what is made of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from modules.core.errors import UserError
from modules.params.image import ImageField
from modules.params.requests.extras import ExtrasRequest
from modules.params.requests.img2img import Img2ImgRequest
from modules.params.results import GeneratedImage
from modules.params.settings.saving import GridSettings
from modules.scripts.outpainting_mk2 import OutpaintingMk2Args, run_outpainting_mk2
from modules.scripts.parts.upscale_cells import upscale
from modules.scripts.poor_mans_outpainting import (
    PoorMansOutpaintingArgs,
    run_poor_mans_outpainting,
)
from modules.scripts.protocol import CellResult, ScriptImage
from modules.scripts.sd_upscale import SD_UPSCALE, SDUpscaleArgs, check_sd_upscale, run_sd_upscale
from tests.scripts.script_runs import run_script

RNG = np.random.default_rng(1)
PHOTO = Image.fromarray(RNG.integers(0, 256, (128, 128, 3), np.uint8))
REQUEST = Img2ImgRequest(
    prompt="a hill",
    init_image=ImageField.from_pil(PHOTO),
    width=64,
    height=64,
    seed=5,
    subseed=9,
    sampler_name="Euler",
)


def keep(request: Img2ImgRequest | ExtrasRequest) -> Image.Image:
    """Return the init image, as a pass of denoising strength 0 would, or that of Extras enlarged."""
    if isinstance(request, ExtrasRequest):
        return draw_enlarged(request)
    assert request.init_image is not None and request.init_image.size == (
        request.width,
        request.height,
    )
    return request.init_image.to_pil()


def draw_enlarged(request: ExtrasRequest) -> Image.Image:
    assert (request.upscaler_1, request.upscaling_resize, request.image) == (
        "Lanczos",
        1.5,
        REQUEST.init_image,
    )
    return PHOTO.resize((192, 192), Image.Resampling.LANCZOS)


def pixels(made: ScriptImage) -> Image.Image:
    return made.image if isinstance(made.image, Image.Image) else made.image(GridSettings())


def test_tiles_that_stay_give_the_enlarged_picture_and_none_of_them_is_shown(tmp_path: Path):
    args = SDUpscaleArgs(overlap=16, upscaler="Lanczos", scale_factor=1.5)
    cells, requests, result = run_script(run_sd_upscale(REQUEST, args), tmp_path, keep)
    assert (
        cells.pop(0).name == "enlarging"
        and len(cells) == 16
        and not any(cell.is_shown for cell in cells)
    )
    assert cells[0].infotext == {"SD upscale overlap": 16, "SD upscale upscaler": "Lanczos"}
    assert [request.seed for request in requests[1:]] == list(range(5, 21))
    (made,) = result.images
    enlarged = PHOTO.resize((192, 192), Image.Resampling.LANCZOS)
    assert pixels(made).tobytes() == enlarged.tobytes()
    assert (made.kind, made.seed, made.infotext) == ("image", 5, "a hill\nSeed: 5")


def test_an_upscaler_is_named_as_lists_name_it_however_it_was_written(tmp_path: Path):
    assert REQUEST.init_image is not None
    steps = upscale(REQUEST.init_image, "lanczos", 1.5)
    next(steps)
    PHOTO.save(tmp_path / "enlarged.png")
    text = 'Postprocess upscale by: 1.5, Postprocess upscaler: "4x, sharp"'
    enlarged = GeneratedImage(0, 0, text, tmp_path / "enlarged.png", size=PHOTO.size)
    with pytest.raises(StopIteration) as end:
        steps.send([CellResult("done", (enlarged,))])
    assert end.value.value[1] == "4x, sharp"


def test_batches_of_tiles_have_a1111s_seeds_and_the_batch_count_makes_several_pictures(
    tmp_path: Path,
):
    args = SDUpscaleArgs(overlap=0, upscaler="None")
    batches = REQUEST.replace(batch_size=3, n_iter=2)
    _, requests, result = run_script(run_sd_upscale(batches, args), tmp_path, keep)
    assert [request.seed for request in requests] == [5, 6, 7, 6, 6, 7, 8, 7]
    assert [request.subseed for request in requests] == [9, 10, 11, 9] * 2
    assert [made.seed for made in result.images] == [5, 6]


def test_a_picture_smaller_than_a_tile_is_one_tile_of_a_valid_size(tmp_path: Path):
    small = REQUEST.replace(
        init_image=ImageField.from_pil(PHOTO.crop((0, 0, 50, 30))), width=512, height=512
    )
    _, (request,), result = run_script(
        run_sd_upscale(small, SDUpscaleArgs(upscaler="None")),
        tmp_path,
        lambda request: Image.new("RGB", (request.width, request.height), "blue"),
    )
    assert (request.width, request.height) == (64, 64)
    made = pixels(result.images[0])
    assert (made.size, made.getpixel((49, 29))) == ((50, 30), (0, 0, 255))


def test_a_tile_that_fails_stays_as_it_was(tmp_path: Path):
    def draw(request: Img2ImgRequest) -> Image.Image | None:
        return None if request.seed == 6 else keep(request)

    args = SDUpscaleArgs(overlap=0, upscaler="None")
    _, _, result = run_script(run_sd_upscale(REQUEST, args), tmp_path, draw)
    assert pixels(result.images[0]).tobytes() == PHOTO.tobytes()
    _, _, nothing = run_script(run_sd_upscale(REQUEST, args), tmp_path, lambda request: None)
    assert nothing.images == ()


@pytest.mark.parametrize(
    ("args", "values"),
    [
        ([None, 32, "Lanczos", 1.5], {"overlap": 32, "upscaler": "Lanczos", "scale_factor": 1.5}),
        ([None, 32, 2], {"overlap": 32, "upscaler": "Nearest"}),
    ],
)
def test_a1111s_list_has_an_ignored_argument_and_upscalers_by_number(
    args: list[Any], values: dict[str, Any]
):
    assert SD_UPSCALE.read_list is not None
    assert SD_UPSCALE.read_list(args, "img2img") == values
    with pytest.raises(UserError, match="The upscaler number 7 may be any file"):
        SD_UPSCALE.read_list([None, 32, 7], "img2img")


def test_an_overlap_as_large_as_a_tile_is_refused():
    with pytest.raises(UserError, match="Tiles of 64 x 64 pixels cannot overlap by 64"):
        next(check_sd_upscale(REQUEST, SDUpscaleArgs(overlap=64)))
    with pytest.raises(UserError, match="Tiles of 64 x 64 pixels cannot overlap by 128"):
        next(run_poor_mans_outpainting(REQUEST, PoorMansOutpaintingArgs()))


def test_mk2_extends_one_side_after_the_other_and_keeps_the_picture(tmp_path: Path):
    args = OutpaintingMk2Args(pixels=64, mask_blur=4, direction=("left", "down"))
    wide = REQUEST.replace(width=128, height=128)
    cells, requests, result = run_script(run_outpainting_mk2(wide, args), tmp_path, keep)
    assert [cell.name for cell in cells] == ["left side", "down side"]
    assert [(r.width, r.height, r.mask_blurs) for r in requests] == [
        (128, 128, (16, 16)),
        (192, 128, (16, 16)),
    ]
    masks = [np.asarray(request.mask.to_pil()) for request in requests]
    assert masks[0][:, :68].all() and not masks[0][:, 68:].any()
    assert not masks[1][:60].any() and masks[1][61:].all()
    (made,) = result.images
    whole = pixels(made)
    assert whole.size == (192, 192)
    assert whole.crop((69, 0, 192, 123)).tobytes() == PHOTO.crop((5, 0, 128, 123)).tobytes()
    levels = np.asarray(whole)
    assert levels[:, :64].std() > 20 and levels[128:].std() > 20, "filled with noise"


def test_mk2_makes_several_pictures_and_their_grid(tmp_path: Path):
    args = OutpaintingMk2Args(pixels=64, direction=("up",))
    several = REQUEST.replace(width=128, height=128, batch_size=2)
    _, requests, result = run_script(run_outpainting_mk2(several, args), tmp_path, keep)
    assert [(r.seed, r.batch_size, r.mask_blurs) for r in requests] == [
        (5, 1, (0, 32)),
        (6, 1, (0, 32)),
    ]
    assert [made.kind for made in result.images] == ["image", "image", "grid"]
    assert pixels(result.images[2]).size == (256, 192)


def test_poor_mans_repaints_only_tiles_that_reach_into_the_new_sides(tmp_path: Path):
    args = PoorMansOutpaintingArgs.model_validate(
        {"pixels": 32, "mask_blur": 2, "inpainting_fill": "latent noise", "direction": ["right"]}
    )
    cells, requests, result = run_script(run_poor_mans_outpainting(REQUEST, args), tmp_path, keep)
    assert len(cells) == 6 and {request.inpainting_fill for request in requests} == {2}
    assert [request.seed for request in requests] == [5, 6, 7, 8, 9, 10]
    assert requests[0].mask_blurs == (4, 4)
    assert requests[0].mask.to_pil().getbbox() == (29, 0, 64, 64)
    whole = pixels(result.images[0])
    assert whole.size == (192, 128)
    assert whole.crop((0, 0, 128, 128)).tobytes() == PHOTO.tobytes()


@pytest.mark.parametrize("run", [run_outpainting_mk2, run_poor_mans_outpainting])
def test_outpainting_without_a_direction_is_refused(run: Any):
    args = {
        run_outpainting_mk2: OutpaintingMk2Args,
        run_poor_mans_outpainting: PoorMansOutpaintingArgs,
    }
    with pytest.raises(UserError, match="needs a picture and a direction"):
        next(run(REQUEST, args[run](pixels=32, direction=())))
